"""Pure: a pod and its settings in, a JSON patch or reasons out. ``hook.cjs``, the hook for Cube, lies here as package data."""
