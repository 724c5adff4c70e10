"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A machine that is busy for a moment is no failure: without this an example must end within 200 ms, ten must be drawn within 1 s.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
