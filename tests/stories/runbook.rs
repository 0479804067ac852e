//! The operators' runbook, as written, against the running product.

use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn every_block_and_script_of_the_runbook_works_on_the_running_product() {
    let volume = tempfile::tempdir().unwrap();
    let origin = Origin::start(|_| Reply::ok("{\"ok\":true}").header("content-type", "application/json")).unwrap();
    let plan = Plan {
        config_dir: Some(volume.path().to_owned()),
        // It asks nobody for credentials here, and the runbook calls it by these names of other namespaces as well.
        environment: vec![(
            "REST_HOSTS".to_owned(),
            "api-optimizer.staging,api-optimizer-new.production".to_owned(),
        )],
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tests/live.sh");
    // Bounded by itself: every wait in it has a deadline, and this bounds the whole.
    let output = Command::new("timeout")
        .args(["--kill-after=10", "400", "bash"])
        .arg(script)
        .args([
            stack.rest().address().port().to_string(),
            stack.envoy.address().port().to_string(),
            stack.origin.address().port().to_string(),
        ])
        .arg(volume.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
