"""Per-user OAuth for self-hosted Cube on Kubernetes.

The rooms of this package, and what may import what, are drawn in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
