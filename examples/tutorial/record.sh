# podpass sources this file before a script. It wraps az, kubectl and podpass: each runs as usual, and a record of the call is
# written to file descriptor 3.
#
# A record is a sequence of NUL-terminated strings: `start`, line number, number of words, the words of the command; then
# `end`, exit code, stdout, stderr.

_record() {
  local line=${BASH_LINENO[1]} status=0 errors out
  errors="$(mktemp)"
  printf '%s\0' start "$line" "$#" "$@" >&3
  out="$(command "$@" 2>"$errors")" || status=$?
  printf '%s\0' end "$status" "$out" "$(cat "$errors")" >&3
  rm -f "$errors"
  if [ -n "$out" ]; then printf '%s\n' "$out"; fi
  return "$status"
}

az() { _record az "$@"; }
kubectl() { _record kubectl "$@"; }
podpass() { _record podpass "$@"; }
