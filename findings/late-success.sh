#!/usr/bin/env bash
# opossum 9.0.0 and 10.0.0: a call from before the circuit opened, which succeeds while it is half-open, closes it although the probe is
# still under way. Calls are let through again, and the probe's failure is one among others that opens nothing. While the circuit is open
# the same late success changes nothing. A late failure, likewise, opens a half-open circuit, and the probe's success is lost.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
node_packages opossum-9@npm:opossum@9.0.0 opossum-10@npm:opossum@10.0.0

# Answers are given by hand; the only time is resetTimeout, whose end the event halfOpen tells.
cat >"$WORK/late.mjs" <<'JS'
const { default: CircuitBreaker } = await import(process.argv[2]);

const state = (circuit) => (circuit.closed ? "closed" : circuit.halfOpen ? "half-open" : circuit.opened ? "open" : "none");
// opossum's own timer does not keep Node running.
setInterval(() => {}, 1000);

// An open circuit, with a call that began before it opened.
const opened = async () => {
  const circuit = new CircuitBreaker((answer) => answer, {
    timeout: false,
    resetTimeout: 1000,
    errorThresholdPercentage: 50,
    volumeThreshold: 2,
  });
  const call = () => {
    const answer = {};
    const given = new Promise((done, failed) => Object.assign(answer, { done, failed }));
    given.catch(() => {});
    answer.result = circuit.fire(given).then(
      () => "succeeds",
      (error) => (error.code === "EOPENBREAKER" ? "rejected" : "fails"),
    );
    return answer;
  };
  const late = call();
  for (let failures = 0; failures < 3; failures++) {
    const one = call();
    one.failed(new Error("refused"));
    await one.result;
  }
  return { circuit, call, late, halfOpen: new Promise((done) => circuit.once("halfOpen", done)) };
};

{
  const { circuit, late } = await opened();
  late.done();
  await late.result;
  console.log("while-open:", state(circuit));
  circuit.shutdown();
}
for (const end of ["done", "failed"]) {
  const { circuit, call, late, halfOpen } = await opened();
  await halfOpen;
  const probe = call();
  const beside = await call().result;
  late[end](new Error("late"));
  await late.result;
  const then = state(circuit);
  const next = call();
  next.done();
  const after = await next.result;
  probe[end === "done" ? "failed" : "done"](new Error("probe"));
  console.log(`late-${end}: beside the probe ${beside}, then ${then}, next call ${after}, probe ${await probe.result}, then ${state(circuit)}`);
  circuit.shutdown();
}
process.exit();
JS

for version in 9 10; do
    seen=$(node "$WORK/late.mjs" "opossum-$version")
    echo "opossum $version:"
    echo "$seen"
    [[ $seen == "while-open: open
late-done: beside the probe rejected, then closed, next call succeeds, probe fails, then closed
late-failed: beside the probe rejected, then open, next call rejected, probe succeeds, then open" ]] || fail "opossum $version does otherwise"
done
echo "As described: a call from before decides what the probe should."
