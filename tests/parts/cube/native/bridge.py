"""Runs a cube.py for python.js: one JSON line in, one out. A hook may be a plain function or a coroutine."""

import asyncio
import json
import sys
import types

answers, sys.stdout = sys.stdout, sys.stderr  # what cube.py prints must not come between the answers


class Config:
    """The `config` that a cube.py imports: takes settings as attributes and functions by decoration."""

    def __call__(self, named):
        if isinstance(named, str):
            return lambda function: self._keep(named, function)
        return self._keep(named.__name__, named)

    def _keep(self, name, function):
        setattr(self, name, function)
        return function


config = Config()


def load(path):
    """Run the file and say what it defined: true for a function, else {"value": ...}."""
    cube = types.ModuleType("cube")
    cube.config = config
    sys.modules["cube"] = cube
    with open(path, encoding="utf-8") as source:  # noqa: PTH123 - this runs in any Python, without our settings
        exec(compile(source.read(), "cube.py", "exec"), {"__name__": "cube.py"})
    say({name: callable(value) or {"value": value} for name, value in vars(config).items()})


def say(content):
    print(json.dumps(content), file=answers, flush=True)


async def answer(call):
    try:
        result = getattr(config, call["fn"])(*call["args"])
        result = await result if asyncio.iscoroutine(result) else result
        say({"id": call["id"], "result": result})
    except Exception as error:  # noqa: BLE001 - whatever a user's function raises is its answer
        say({"id": call["id"], "error": f"Python error: {type(error).__name__}: {error}"})


async def serve():
    loop = asyncio.get_running_loop()
    running = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.ensure_future(answer(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


load(sys.argv[1])
asyncio.run(serve())
