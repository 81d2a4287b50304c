#!/usr/bin/env bash
# Shows that kill -9 in the middle of a bulk download costs no row and no second job.
#
#   scripts/kill-nine-bulk.sh [SEED [KILLS [LATENCY_MS]]]      defaults: 1 20 150
#
# The simulated org is a process of its own. `penstock query --api bulk --out FILE` runs once undisturbed. Then the same
# command runs into another file, is killed with -9 at random moments and started again, over and over, until all
# kills are spent; then it is let finish. Downloads that finish before that are compared too, and a new one begins.
#
# A kill comes only once FILE.part.json names the job. Between the org's create and our first checkpoint is a window
# that cannot be closed: a job carries nothing of ours by which the next run could know it, so a kill there costs a
# second job (no row, and the org removes the first after seven days).
#
# What must hold for each download:
#
#   a  the org's journal has one created job, and at the end it is deleted
#   b  every id stands in the file once
#   c  the file is byte for byte that of the undisturbed run
#
# PENSTOCK_BIN, ORGSIM_BIN: programs to use; otherwise both are built (PROFILE, default release). KEEP=1 keeps the folder.
# OBJECT, ROWS: what is read, and at least how many rows it must have (defaults Equipment_Reading__c and 300000; the object's rows are
# the simulated org's).
# Exit: 0 all good, 1 something failed, 2 wrong usage. Needs curl and jq.
set -euo pipefail
name=kill-nine-bulk
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seed="${1:-1}"
kills="${2:-20}"
latency_ms="${3:-150}"
object="${OBJECT:-Equipment_Reading__c}"
case "$seed$kills$latency_ms" in
  *[!0-9]*) echo "usage: $0 [SEED [KILLS [LATENCY_MS]]]" >&2; exit 2 ;;
esac
RANDOM=$seed
rows_min="${ROWS:-300000}"
statement="${STATEMENT:-SELECT Id, Name, CreatedDate, LastModifiedDate, SystemModstamp, CreatedById FROM ${object}}"
# A download that never finishes would go on for ever.
runs_max=$((kills * 5 + 20))

need_programs
build_programs
make_work_folder
start_org "$latency_ms"

run_query() { exec "$penstock" query "$statement" --api bulk --config "$1/config.toml" --out "$1/rows.jsonl"; }
# Until the checkpoint names the job, or the run has ended.
wait_for_job() {
  until jq -e '.at.job.job_id' "$1/rows.jsonl.part.json" > /dev/null 2>&1 || ! kill -0 "$2" 2> /dev/null; do
    pause_ms 5
  done
}
jobs_created() { journal | jq '[.calls[] | select(.kind == "bulk_create" and .status == 200)] | length'; }
jobs_deleted() { journal | jq '[.calls[] | select(.kind == "bulk_delete" and .status == 204)] | length'; }
ids_once() {
  local all once
  all="$(wc -l < "$1")"
  once="$(jq -r .Id "$1" | LC_ALL=C sort -u | wc -l)"
  [ "$all" -eq "$once" ]
}

echo "seed ${seed}, ${kills} kills, ${latency_ms} ms a call: ${statement}"
calm="$work/calm"
make_config "$calm"
began="$(milliseconds)"
(run_query "$calm") > "$calm/out" 2> "$calm/log" || give_up "the undisturbed run failed: $(tail -n 3 "$calm/log")"
length_ms=$(($(milliseconds) - began))
rows="$(wc -l < "$calm/rows.jsonl")"
[ "$rows" -ge "$rows_min" ] || give_up "\`${object}\` has ${rows} rows, fewer than ${rows_min}"
ids_once "$calm/rows.jsonl" || give_up "the undisturbed run has ids twice"
note "undisturbed: ${length_ms} ms, ${rows} rows, $(wc -c < "$calm/rows.jsonl") bytes, $(journal | jq .total) calls"

killed=0 round=0 runs=0 in_download=0
many_jobs=0 left_jobs=0 differing=0
while [ "$killed" -lt "$kills" ]; do
  round=$((round + 1))
  folder="$work/round-$round"
  make_config "$folder"
  reset_journal
  finished=false
  while ! $finished; do
    runs=$((runs + 1))
    [ "$runs" -le "$runs_max" ] || give_up "${runs} runs, and still not finished: nothing is kept from run to run"
    run_query "$folder" >> "$folder/out" 2>> "$folder/log" &
    child=$!
    children=("${children[0]}" "$child")
    moment=0
    if [ "$killed" -lt "$kills" ]; then
      moment=$(((RANDOM * 32768 + RANDOM) % length_ms))
      wait_for_job "$folder" "$child"
      pause_ms "$moment"
      kill -9 "$child" 2> /dev/null || true
    fi
    code=0
    { wait "$child" || code=$?; } 2> /dev/null
    children=("${children[0]}")
    if [ "$code" -eq 137 ]; then
      killed=$((killed + 1))
      kept="$(jq '.bytes' "$folder/rows.jsonl.part.json" 2> /dev/null || echo none)"
      part="$(stat -c %s "$folder/rows.jsonl.part" 2> /dev/null || echo 0)"
      [ "$part" -gt 0 ] && in_download=$((in_download + 1))
      note "kill ${killed} at ${moment} ms of round ${round}: ${part} bytes written, ${kept} vouched for"
    elif [ "$code" -eq 0 ]; then
      finished=true
    else
      give_up "a run of round ${round} ended with exit ${code}: $(tail -n 3 "$folder/log")"
    fi
  done
  created="$(jobs_created)"
  [ "$created" -eq 1 ] || { many_jobs=$((many_jobs + 1)); note "round ${round}: ${created} jobs"; }
  [ "$(jobs_deleted)" -eq "$created" ] || { left_jobs=$((left_jobs + 1)); note "round ${round}: a job was left"; }
  if ! cmp -s "$calm/rows.jsonl" "$folder/rows.jsonl" || ! ids_once "$folder/rows.jsonl"; then
    differing=$((differing + 1))
    note "round ${round} differs: $(wc -l < "$folder/rows.jsonl") rows"
  fi
  if [ -e "$folder/rows.jsonl.part" ] || [ -e "$folder/rows.jsonl.part.json" ]; then
    left_jobs=$((left_jobs + 1))
    note "round ${round}: a part or a checkpoint was left"
  fi
  note "round ${round} finished: $(journal | jq .total) calls"
done

if [ "$many_jobs" -eq 0 ] && [ "$left_jobs" -eq 0 ]; then
  pass "a: one job in each of ${round} downloads, deleted at the end (${killed} kills, ${in_download} with rows on disk)"
else
  fail "a: ${many_jobs} downloads with other than one job, ${left_jobs} that left something"
fi
[ "$in_download" -gt 0 ] || fail "no kill came while rows were on disk, so nothing was shown; try another seed or more latency"
if [ "$differing" -eq 0 ]; then
  pass "b, c: every id once, and the same bytes as the undisturbed run"
else
  fail "b, c: ${differing} of ${round} downloads differ"
fi
finish
