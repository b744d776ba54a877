"""Install the cloud half into a test cluster, and remove it: the chart `podpass-cloud` without Helm."""
