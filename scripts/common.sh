# What the scripts of this folder share: programs, a simulated org as its own process, and pass and fail lines.
# Sourced, not run. Whoever sources it sets `name` first.

# The command lines, in one place. Call the first two in a subshell of their own, `( run_schema ... )` or with `&`: they
# take its place, so that a signal to it reaches penstock.
run_schema()     { exec "$penstock" schema --config "$1"; }
run_daemon()     { exec "$penstock" run --config "$1"; }
ask_status()     { "$penstock" status --config "$1" --json; }
# Opens the state folder itself when no daemon runs.
ask_cache_keys() { "$penstock" cache keys --config "$1" --json; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
failures=0
children=()

pass() { echo "PASS  $*"; }
fail() { echo "FAIL  $*"; failures=$((failures + 1)); }
note() { echo "      $*"; }
give_up() { echo "${name}: $*" >&2; exit 1; }

need_programs() {
  local program
  for program in curl jq; do
    command -v "$program" > /dev/null || { echo "${name}: \`${program}\` is missing" >&2; exit 2; }
  done
}

# Sets `penstock` and `orgsim`. PENSTOCK_BIN and ORGSIM_BIN name programs that are built already; otherwise both are
# built, in release unless PROFILE says otherwise.
build_programs() {
  penstock="${PENSTOCK_BIN:-}"
  orgsim="${ORGSIM_BIN:-}"
  if [ -z "$penstock" ] || [ -z "$orgsim" ]; then
    local profile="${PROFILE:-release}" built
    note "building (${profile})"
    built="$(cd "$root" && cargo build --locked --profile "$profile" -p penstock -p orgsim --bins \
      --message-format=json-render-diagnostics | jq -r 'select(.executable != null) | .executable')"
    penstock="${penstock:-$(grep '/penstock$' <<< "$built" | head -n 1)}"
    orgsim="${orgsim:-$(grep '/orgsim$' <<< "$built" | head -n 1)}"
  fi
  [ -x "$penstock" ] || give_up "no program \`penstock\`"
  [ -x "$orgsim" ] || give_up "no program \`orgsim\`"
}

# Sets `work`, a folder that goes at the end unless something failed or KEEP is set.
make_work_folder() {
  work="$(mktemp -d "${TMPDIR:-/tmp}/penstock-${name}.XXXXXX")"
  trap clean_up EXIT
}

clean_up() {
  local code=$? child
  for child in "${children[@]}"; do
    kill -9 "$child" 2> /dev/null || true
  done
  if [ "$code" -eq 0 ] && [ -z "${KEEP:-}" ]; then
    rm -rf "$work"
  else
    note "left for inspection: ${work}"
  fi
}

# Starts the simulated org with this latency in milliseconds; sets `org_url`.
start_org() {
  "$orgsim" --seed 7 --latency-ms "$1" > "$work/org.url" 2> "$work/org.log" &
  children+=("$!")
  # Its end at our exit is no news.
  disown "$!"
  local tries=0
  until [ -s "$work/org.url" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 300 ] || give_up "the simulated org did not start"
    sleep 0.1
  done
  org_url="$(head -n 1 "$work/org.url")"
}

# make_config FOLDER [AT_START]: writes FOLDER/config.toml with a state and an output folder in FOLDER.
make_config() {
  mkdir -p "$1"
  cat > "$1/config.toml" << CONFIG
state_dir = "$1/state"
output_dir = "$1/output"
[log]
format = "json"
[http]
listen = ""
[api]
listen = ""
[schema]
every = ""
at_start = ${2:-false}
[[org]]
name = "trial"
login_url = "${org_url}"
client_id = "orgsim-client"
client_secret = "orgsim-secret"
CONFIG
}

reset_journal() { curl -fsS -X POST "$org_url/__sim/reset" > /dev/null; }
journal() { curl -fsS "$org_url/__sim/journal"; }

# The sorted lines of the one documents.jsonl below FOLDER/output; nothing when there is none.
sorted_documents() {
  local found
  found="$(find "$1/output" -name documents.jsonl 2> /dev/null | head -n 1)"
  if [ -n "$found" ]; then
    LC_ALL=C sort "$found"
  fi
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
# pause_ms 1234: waits so many milliseconds.
pause_ms() { sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"; }

finish() {
  if [ "$failures" -eq 0 ]; then
    echo "${name}: all good"
  else
    echo "${name}: ${failures} FAILED" >&2
    exit 1
  fi
}
