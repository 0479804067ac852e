#!/usr/bin/env bash
# A t-digest of latencies that are mostly equal: ten times 1 ms and once 100 ms. Its median is 10 ms, which no request took, and it says that
# 45 % took at most 1 ms, where it was 91 %: it spreads the weight of equal values between their neighbours.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages tdigest==0.5.2.2

seen=$("$PYTHON" - <<'PYTHON'
from tdigest import TDigest

digest = TDigest()
digest.batch_update([1.0] * 10 + [100.0])
print(round(digest.percentile(50), 2), round(digest.percentile(90), 2), round(digest.cdf(1.0), 2))
PYTHON
)
echo "tdigest 0.5.2.2, ten times 1 and once 100: median, 90th percentile, share up to 1: $seen"
[[ $seen == "10.0 89.2 0.45" ]] || fail "it gives $seen"
