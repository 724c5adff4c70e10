"""Pure: a pod and its settings in, a JSON patch or reasons out. ``hook.cjs`` and ``hook/``, the hook, lie here as package data."""
