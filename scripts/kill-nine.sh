#!/usr/bin/env bash
# Shows that kill -9 costs nothing that was acknowledged.
#
#   scripts/kill-nine.sh [SEED [KILLS [LATENCY_MS]]]      defaults: 1 20 20
#
# The simulated org is a process of its own. The schema job runs once undisturbed. Then it runs in another state folder
# and is killed with -9 at random moments, spread over the length of the undisturbed run, and started again on the same
# folder until it finishes; a finished run is compared, and the next round starts from an empty folder, until all kills
# are spent. So early, middle and late moments are all hit; the early ones more often, for there the org is read. What
# must hold:
#
#   a  each finished documents.jsonl, sorted, is byte for byte that of the undisturbed run, and so are the pages
#   b  no describe whose result the cache held after a kill is asked of the org again in that round
#   c  what the cache held after one kill it still holds after the next
#
# PENSTOCK_BIN, ORGSIM_BIN: programs to use; otherwise both are built (PROFILE, default release). KEEP=1 keeps the folder.
# Exit: 0 all good, 1 something failed, 2 wrong usage. Needs curl and jq.
set -euo pipefail
name=kill-nine
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seed="${1:-1}"
kills="${2:-20}"
latency_ms="${3:-20}"
case "$seed$kills$latency_ms" in
  *[!0-9]*) echo "usage: $0 [SEED [KILLS [LATENCY_MS]]]" >&2; exit 2 ;;
esac
RANDOM=$seed
# A round that never finishes would go on for ever.
runs_max=$((kills * 5 + 20))

need_programs
build_programs
make_work_folder
start_org "$latency_ms"

pages_sum() { find "$1/output" -name '*.md' -printf '%P\0' | LC_ALL=C sort -z | (cd "$1/output" && xargs -0 -r sha256sum) | sha256sum; }

# The objects whose describe the cache holds. A key is `org/version/kind/name`.
described_in_cache() {
  ask_cache_keys "$1/config.toml" 2>> "$1/cache.log" |
    jq -r '.. | strings | capture("^[^/]+/[^/]+/describe/(?<object>.+)$") | .object' | LC_ALL=C sort -u
}

# The objects whose describe was asked for in calls after number $1.
described_after() {
  journal | jq -r --argjson after "$1" '.calls[] | select(.seq > $after) | .described[]' | LC_ALL=C sort -u
}

last_call() { journal | jq '[.calls[].seq] | max // 0'; }

echo "seed ${seed}, ${kills} kills, ${latency_ms} ms a call"
calm="$work/calm"
make_config "$calm"
began="$(milliseconds)"
(run_schema "$calm/config.toml") > "$calm/out" 2> "$calm/log" || give_up "the undisturbed run failed: $(tail -n 3 "$calm/log")"
length_ms=$(($(milliseconds) - began))
sorted_documents "$calm" > "$calm/documents"
calm_pages="$(pages_sum "$calm")"
[ -s "$calm/documents" ] || give_up "the undisturbed run wrote no documents.jsonl"
calm_calls="$(journal | jq .total)"
note "undisturbed: ${length_ms} ms, ${calm_calls} calls, $(wc -l < "$calm/documents") documents"

killed=0 round=0 runs=0 known_total=0
asked_again=0 lost=0 differing=0 unread=0
while [ "$killed" -lt "$kills" ]; do
  round=$((round + 1))
  folder="$work/round-$round"
  make_config "$folder"
  : > "$folder/known"
  reset_journal
  finished=false
  while ! $finished; do
    runs=$((runs + 1))
    [ "$runs" -le "$runs_max" ] || give_up "${runs} runs, and still not finished: nothing is kept from run to run"
    since="$(last_call)"
    run_schema "$folder/config.toml" >> "$folder/out" 2>> "$folder/log" &
    child=$!
    children=("${children[0]}" "$child")
    if [ "$killed" -lt "$kills" ]; then
      # Every second one falls into the first fifth, where the org is read.
      moment=$(((RANDOM * 32768 + RANDOM) % (killed % 2 == 0 ? length_ms / 5 : length_ms)))
      pause_ms "$moment"
      kill -9 "$child" 2> /dev/null || true
    fi
    code=0
    { wait "$child" || code=$?; } 2> /dev/null
    children=("${children[0]}")
    # What was on its way when the process died is booked when its answer is ready.
    pause_ms $((latency_ms * 2 + 200))

    described_after "$since" > "$folder/asked"
    LC_ALL=C comm -12 "$folder/known" "$folder/asked" > "$folder/again"
    if [ -s "$folder/again" ]; then
      asked_again=$((asked_again + $(wc -l < "$folder/again")))
      note "asked again although cached: $(head -n 5 "$folder/again" | tr '\n' ' ')"
    fi

    if [ "$code" -eq 137 ]; then
      killed=$((killed + 1))
      cp "$folder/known" "$folder/before"
      if ! described_in_cache "$folder" > "$folder/known"; then
        unread=$((unread + 1))
        note "the cache could not be listed: $(tail -n 1 "$folder/cache.log")"
      fi
      LC_ALL=C comm -23 "$folder/before" "$folder/known" > "$folder/gone"
      lost=$((lost + $(wc -l < "$folder/gone")))
      known_total=$((known_total + $(wc -l < "$folder/known")))
      note "kill ${killed} at ${moment} ms of round ${round}: $(wc -l < "$folder/known") describes in the cache"
    elif [ "$code" -eq 0 ]; then
      finished=true
    else
      give_up "a run of round ${round} ended with exit ${code}: $(tail -n 3 "$folder/log")"
    fi
  done
  sorted_documents "$folder" > "$folder/documents"
  if ! cmp -s "$calm/documents" "$folder/documents" || [ "$(pages_sum "$folder")" != "$calm_pages" ]; then
    differing=$((differing + 1))
    note "round ${round} differs: $(LC_ALL=C comm -3 "$calm/documents" "$folder/documents" | wc -l) lines"
  fi
  # A describe in flight at a kill was acknowledged to nobody and may be asked for once more.
  twice="$(journal | jq '[.calls[].described[]] | group_by(.) | map(select(length > 1)) | length')"
  note "round ${round} finished: $(journal | jq .total) calls, ${twice} objects described more than once"
done

if [ "$differing" -eq 0 ]; then
  pass "a: ${round} finished rounds after ${killed} kills, each with the documents of the undisturbed run"
else
  fail "a: ${differing} of ${round} rounds differ from the undisturbed run"
fi
if [ "$known_total" -eq 0 ]; then
  fail "b: no kill came while the cache held a describe, so nothing was shown; try another seed or more latency"
elif [ "$asked_again" -eq 0 ]; then
  pass "b: no describe in the cache was asked for again (${known_total} looked at over all kills)"
else
  fail "b: ${asked_again} describes were asked for again although the cache held them"
fi
if [ "$lost" -eq 0 ] && [ "$unread" -eq 0 ]; then
  pass "c: the cache kept over each kill what it held"
else
  fail "c: ${lost} describes were lost from the cache, and ${unread} times it could not be listed"
fi
finish
