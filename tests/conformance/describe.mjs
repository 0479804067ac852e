// Prints every test that applies to a proxy, with its kind and what it depends on.
import suites from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'

const tests = [...suites, surrogate].flatMap((suite) => suite.tests).filter((test) => !test.browser_only)
console.log(JSON.stringify(tests.map((test) => ({
  id: test.id,
  kind: test.kind ?? 'required',
  depends_on: test.depends_on ?? []
}))))
