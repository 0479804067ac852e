#!/usr/bin/env bash
# structured-headers 2.1.0 reads a Date of RFC 9651 only where the field ends with it. A Date with parameters, in a list, in an inner list
# or before another member is refused, and so is what its own serializer writes of them. http-sf 1.5.0 (PyPI) reads them all, and
# structured-headers reads the same fields with Integers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages http-sf==1.5.0
node_packages structured-headers@2.1.0

# Type and value.
cat >"$WORK/fields" <<'FIELDS'
item @1659578233
dictionary expires=@1659578233
item @1659578233;source=clock
list @1659578233, @1659578234
list (@1659578233 @1659578234)
dictionary created=@1659578233, expires=@1659578234
item "event";at=@1659578233;late
FIELDS
cat >"$WORK/read.mjs" <<'JS'
import { readFileSync } from "node:fs";
import * as fields from "structured-headers";

const types = {
  item: [fields.parseItem, fields.serializeItem],
  list: [fields.parseList, fields.serializeList],
  dictionary: [fields.parseDictionary, fields.serializeDictionary],
};
const reads = (type, text) => {
  try {
    return types[type][1](types[type][0](text)) === text ? "read" : "otherwise";
  } catch (error) {
    return error instanceof fields.ParseError ? "refused" : String(error);
  }
};
for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const [, type, text] = line.match(/^(\S+) (.*)$/);
  console.log(reads(type, text), reads(type, text.replaceAll("@", "")));
}
// What it writes itself: a = @1;x, b = @2
const written = fields.serializeDictionary(
  new Map([
    ["a", [new Date(1000), new Map([["x", true]])]],
    ["b", [new Date(2000), new Map()]],
  ]),
);
console.log(reads("dictionary", written), written);
JS
cat >"$WORK/read.py" <<'PYTHON'
import sys
import http_sf

for line in open(sys.argv[1]):
    kind, text = line.rstrip("\n").split(" ", 1)
    try:
        again = http_sf.ser(http_sf.parse(text.encode(), tltype=kind))
        print("read" if again == text else f"otherwise: {again}")
    except Exception as error:
        print(f"refused: {error}")
PYTHON
node "$WORK/read.mjs" "$WORK/fields" >"$WORK/node"
"$PYTHON" "$WORK/read.py" "$WORK/fields" >"$WORK/python"

echo "structured-headers | the same with Integers | http-sf"
paste -d'|' "$WORK/node" "$WORK/python" "$WORK/fields" | head -n 7 | sed 's/ /|/' |
    awk -F'|' '{ printf "  %-8s %-8s %-8s %s\n", $1, $2, $3, $4 }'
echo "  what it wrote itself: $(tail -n 1 "$WORK/node")"
[[ $(cut -d' ' -f1 "$WORK/node" | paste -sd' ') == "read read refused refused refused refused refused refused" ]] ||
    fail "structured-headers reads Dates in another way"
[[ $(head -n 7 "$WORK/node" | cut -d' ' -f2 | sort -u) == read ]] || fail "structured-headers does not read the Integers"
[[ $(sort -u "$WORK/python") == read ]] || fail "http-sf does not read them all"
[[ $(tail -n 1 "$WORK/node") == "refused a=@1;x, b=@2" ]] || fail "structured-headers writes otherwise"
echo "As described: nothing may follow a Date."
