"""What to do with a credential now, and what to publish afterwards. Pure: ``now`` is an argument, nothing is awaited.

``decide`` runs before the network, ``issue`` and ``report`` after it; the controller gathers and applies.
"""
