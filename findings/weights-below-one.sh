#!/usr/bin/env bash
# DDSketch with weights, as for samples that fade with time: while they sum up to less than 1, the Python and the JavaScript library of the
# sketch's authors give a quantile that no value has: -0.99 or -0, where all values are 100. From a sum of 1 on both are right.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages ddsketch==3.0.1
node_packages @datadog/sketches-js@2.1.1

cat >"$WORK/sketch.py" <<'PYTHON'
from ddsketch import DDSketch

for count in (3, 4):
    sketch = DDSketch(0.01)
    for _ in range(count):
        sketch.add(100.0, weight=0.25)
    print(*(round(sketch.get_quantile_value(at), 2) for at in (0.5, 0.99)))
PYTHON
cat >"$WORK/sketch.js" <<'NODE'
const { DDSketch } = require("@datadog/sketches-js");
const shown = (value) => (Object.is(value, -0) ? "-0" : value.toFixed(2));
for (const count of [3, 4]) {
  const sketch = new DDSketch({ relativeAccuracy: 0.01 });
  for (let at = 0; at < count; at++) sketch.accept(100, 0.25);
  console.log([0.5, 0.99].map((at) => shown(sketch.getValueAtQuantile(at))).join(" "));
}
NODE
python=$("$PYTHON" "$WORK/sketch.py")
node=$(node "$WORK/sketch.js")
echo "median and 99th percentile of 100 with weights 0.25: three times, then four times"
echo "ddsketch 3.0.1:"; echo "$python"
echo "@datadog/sketches-js 2.1.1:"; echo "$node"
[[ $python == $'-0.99 -0.99\n100.49 100.49' ]] || fail "ddsketch gives $python"
[[ $node == $'-0 -0\n100.49 100.49' ]] || fail "@datadog/sketches-js gives $node"
