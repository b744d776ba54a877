"""What holds for every test: Hypothesis judges what is answered, not how quick a busy machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
