# Sourced before tutorial.sh when podpass runs it: az and kubectl do what they do, and tell descriptor 3 of it.
#
# A telling is a row of texts that end with NUL: `start`, line, number of words, the words; then `end`, exit code,
# what was printed on stdout, on stderr.

_told() {
  local line=${BASH_LINENO[1]} status=0 talk out
  talk="$(mktemp)"
  printf '%s\0' start "$line" "$#" "$@" >&3
  out="$(command "$@" 2>"$talk")" || status=$?
  printf '%s\0' end "$status" "$out" "$(cat "$talk")" >&3
  rm -f "$talk"
  if [ -n "$out" ]; then printf '%s\n' "$out"; fi
  return "$status"
}

az() { _told az "$@"; }
kubectl() { _told kubectl "$@"; }
