"""Why a pod gets no token: `doctor`, `explain`, `drift`, `graph`, and the hops that logs contain."""
