#!/usr/bin/env bash
# Shows that a pause freezes the line, survives a restart, and costs nothing.
#
#   scripts/pause-resume.sh [LATENCY_MS]      default: 60
#
# The simulated org is a process of its own. The schema job runs once undisturbed. Then the daemon runs it in another
# state folder and gets SIGUSR1 once a third of the calls are made. What must hold:
#
#   a  the org's journal shows no call later than one second after the signal
#   b  the daemon says that it is paused
#   c  stopped and started again, it stays paused: no call, no documents
#   d  SIGUSR2 finishes the job: documents.jsonl, sorted, is byte for byte that of the undisturbed run
#   e  SIGTERM then ends the daemon with exit 0
#
# PENSTOCK_BIN, ORGSIM_BIN: programs to use; otherwise both are built (PROFILE, default release). KEEP=1 keeps the folder.
# Exit: 0 all good, 1 something failed, 2 wrong usage. Needs curl and jq.
set -euo pipefail
name=pause-resume
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

latency_ms="${1:-60}"
case "$latency_ms" in
  *[!0-9]*) echo "usage: $0 [LATENCY_MS]" >&2; exit 2 ;;
esac
quiet_ms=3000
deadline_ms=120000

need_programs
build_programs
make_work_folder
start_org "$latency_ms"

start_daemon() {
  run_daemon "$trial/config.toml" >> "$trial/out" 2>> "$trial/log" &
  daemon=$!
  children=("${children[0]}" "$daemon")
}

# Sets `code` to the daemon's exit code after SIGTERM.
stop_daemon() {
  kill -TERM "$daemon" 2> /dev/null || true
  code=0
  { wait "$daemon" || code=$?; } 2> /dev/null
  children=("${children[0]}")
}

calls() { journal | jq '.calls | length'; }
# How many calls arrived later than journal time $1. The marker of this script is no call of the daemon's.
calls_later_than() { journal | jq --argjson than "$1" '[.calls[] | select(.at_ms > $than and (.path | endswith("/moment") | not))] | length'; }

# Puts a mark into the journal (a request without a session, which counts as no API call) and prints its time there.
mark() {
  curl -s -o /dev/null "$org_url/services/data/v62.0/moment"
  journal | jq '[.calls[] | select(.path | endswith("/moment")) | .at_ms] | max'
}

calm="$work/calm"
make_config "$calm"
(run_schema "$calm/config.toml") > "$calm/out" 2> "$calm/log" || give_up "the undisturbed run failed: $(tail -n 3 "$calm/log")"
sorted_documents "$calm" > "$calm/documents"
[ -s "$calm/documents" ] || give_up "the undisturbed run wrote no documents.jsonl"
calm_calls="$(calls)"
note "undisturbed: ${calm_calls} calls, $(wc -l < "$calm/documents") documents"

trial="$work/trial"
make_config "$trial" true
reset_journal
start_daemon
began="$(milliseconds)"
until [ "$(calls)" -ge $((calm_calls / 3)) ]; do
  [ $(($(milliseconds) - began)) -lt "$deadline_ms" ] || give_up "the daemon made only $(calls) calls: $(tail -n 3 "$trial/log")"
  kill -0 "$daemon" 2> /dev/null || give_up "the daemon ended by itself: $(tail -n 3 "$trial/log")"
done

# Before the signal, so that the second is counted from a moment that cannot be too late.
paused_at="$(mark)"
kill -USR1 "$daemon"
pause_ms "$quiet_ms"
late="$(calls_later_than $((paused_at + 1000)))"
made="$(($(calls) - 1))"
if [ -n "$(sorted_documents "$trial")" ] || [ "$made" -ge "$calm_calls" ]; then
  fail "a: the job was over before the pause, so nothing was shown; try more latency"
elif [ "$late" -eq 0 ]; then
  pass "a: no call later than 1 s after SIGUSR1 (${made} of about ${calm_calls} calls were made)"
else
  fail "a: ${late} calls later than 1 s after SIGUSR1"
fi

says_paused() { ask_status "$trial/config.toml" 2>> "$trial/log" | jq -e '[.. | objects | .paused?] | any(. == true)' > /dev/null; }
if says_paused; then pass "b: status says paused"; else fail "b: status does not say paused"; fi

stop_daemon
note "stopped while paused: exit ${code}"
restarted_at="$(mark)"
start_daemon
pause_ms "$quiet_ms"
again="$(calls_later_than "$restarted_at")"
if ! kill -0 "$daemon" 2> /dev/null; then
  give_up "the daemon did not stay up after its restart: $(tail -n 3 "$trial/log")"
elif [ "$again" -eq 0 ] && [ -z "$(sorted_documents "$trial")" ] && says_paused; then
  pass "c: after a restart it stays paused: no call in ${quiet_ms} ms"
else
  fail "c: after a restart ${again} calls were made, or it does not say paused"
fi

kill -USR2 "$daemon"
began="$(milliseconds)"
while [ -z "$(sorted_documents "$trial")" ] && [ $(($(milliseconds) - began)) -lt "$deadline_ms" ]; do
  kill -0 "$daemon" 2> /dev/null || break
  pause_ms 200
done
sorted_documents "$trial" > "$trial/documents"
if cmp -s "$calm/documents" "$trial/documents"; then
  pass "d: after SIGUSR2 the job finished with the documents of the undisturbed run"
else
  fail "d: $(LC_ALL=C comm -3 "$calm/documents" "$trial/documents" | wc -l) lines differ from the undisturbed run"
fi

stop_daemon
if [ "$code" -eq 0 ]; then pass "e: SIGTERM: exit 0"; else fail "e: SIGTERM: exit ${code}"; fi
finish
