"""The streaming endpoints of the kubelet: exec, attach and port-forward, by WebSocket and by SPDY."""
