"""Run Microsoft's AKS tutorial with a released `az` and kubectl against a new instance."""
