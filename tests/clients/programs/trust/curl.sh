# Connects to each URL with curl or git: PROGRAM URL... Prints one line for each: trusted or refused.
program=$1
shift
for url in "$@"; do
  case $program in
    curl) curl -sS "$url" >/dev/null 2>err; code=$?; test $code = 60 && code=refused ;;
    # The server has no repository, so git always fails; the reason tells whether it trusted the certificate.
    git) git ls-remote "$url" >/dev/null 2>err; code=0; grep -q 'certificate' err && code=refused ;;
  esac
  case $code in
    0) echo trusted ;;
    refused) echo refused ;;
    *) cat err >&2; exit 1 ;;
  esac
done
