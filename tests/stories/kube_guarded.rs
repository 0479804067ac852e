//! The ConfigMap through an API server as a pod meets it: TLS by the cluster's authority, a token that is rotated, rights that are
//! missing, a history that is forgotten.

use e2e::certificates::Certificates;
use e2e::kube::{KubeApi, NAME, NAMESPACE};
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::{artefacts, wait};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where every pod finds its service account.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The folder of a service account, as the kubelet writes it.
struct Account(PathBuf);

impl Account {
    fn new(folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let account = Self(folder.to_owned());
        account.put("namespace", NAMESPACE);
        account
    }

    /// Replaces a file in one step.
    fn put(&self, name: &str, content: &str) {
        let next = self.0.join(".next");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, self.0.join(name)).unwrap();
    }
}

/// Whether a process may have a view of its own of the file system here.
fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["-rm", "mount", "-t", "tmpfs", "none", "/var/run"]);
    command
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A control plane in the cluster of this API: with the account where a pod has it, or where that cannot be, in a kubeconfig.
fn start(api: &KubeApi, account: &Account, folder: &Path) -> (Process, Rest) {
    let (rest_port, grpc_port) = (free_port().unwrap(), free_port().unwrap());
    let mut command = if can_mount() {
        let mut command = Command::new("unshare");
        let mounted = "mount -t tmpfs none /var/run && mkdir -p \"$2\" && mount --bind \"$1\" \"$2\" && exec \"$3\"";
        command
            .args(["-rm", "sh", "-c", mounted, "sh"])
            .arg(&account.0)
            .arg(MOUNT);
        command.arg(artefacts::control_plane().unwrap());
        command.env_remove("KUBECONFIG").env("HOME", folder);
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
        command.env("KUBERNETES_SERVICE_PORT", api.address().port().to_string());
        command
    } else {
        println!("no mounts here: the account is named in a kubeconfig");
        let mut command = Command::new(artefacts::control_plane().unwrap());
        command.env("KUBECONFIG", kubeconfig(api, account, folder));
        command
    };
    command
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("REST_PORT", rest_port.to_string())
        .env("GRPC_PORT", grpc_port.to_string())
        .env("STATE_DIR", folder.join("state"))
        .env("KUBE_CONFIG_MAP", NAME)
        .env("KUBE_WRITE_BACK", "true")
        .env_remove("CONFIG_DIR");
    let process = Process::start("the control plane", &mut command, &folder.join("log")).unwrap();
    let rest = Rest::new((Ipv4Addr::LOCALHOST, rest_port).into());
    wait::until("the control plane live", || rest.get("/health/live").ok()).unwrap();
    (process, rest)
}

fn kubeconfig(api: &KubeApi, account: &Account, folder: &Path) -> PathBuf {
    let server = format!("https://{}", api.address());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server, "certificate-authority": account.0.join("ca.crt")}}],
        "users": [{"name": "me", "user": {"tokenFile": account.0.join("token")}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": NAMESPACE}}],
    });
    let file = folder.join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

fn change(rest: Rest, change: &Value) {
    let answer = rest.merge_patch("/settings", change).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Waits until health tells of the ConfigMap with this status and a reason that holds one of the words.
fn told(rest: Rest, status: &str, words: &[&str]) {
    wait::until(&format!("health {status} because of {words:?}"), || {
        let component = rest.document("/health").ok()?["components"]["config_map"].take();
        let reason = component["reason"].as_str()?;
        let named = words.iter().any(|word| reason.contains(word));
        (component["status"] == status && named).then_some(())
    })
    .unwrap();
}

fn in_both(api: &KubeApi, rest: Rest, size: u64) {
    let text = size.to_string();
    wait::until(&format!("{size} in the settings and in the ConfigMap"), || {
        let here = rest.document("/settings").ok()?["cache_size"] == size;
        (here && api.data()["cache_size"] == text).then_some(())
    })
    .unwrap();
    told(rest, "healthy", &["no key refused"]);
}

#[test]
fn a_pod_follows_its_config_map_over_rotated_tokens_and_missing_rights() {
    let folder = tempfile::tempdir().unwrap();
    let account = Account::new(&folder.path().join("account"));
    let certificates = Certificates::make(&folder.path().join("cluster")).unwrap();
    let authority = std::fs::read_to_string(certificates.file("ca.pem")).unwrap();
    let strangers = Certificates::make(&folder.path().join("strangers")).unwrap();
    account.put("ca.crt", &std::fs::read_to_string(strangers.file("ca.pem")).unwrap());
    account.put("token", "wrong");
    let api = KubeApi::start_guarded(&json!({"cache_size": "500"}), certificates, "first").unwrap();
    let (process, rest) = start(&api, &account, folder.path());

    // Each mistake is named, and mended without a restart.
    told(rest, "degraded", &["certificate"]);
    account.put("ca.crt", &authority);
    told(rest, "degraded", &["Unauthorized"]);
    account.put("token", "first");
    in_both(&api, rest, 500);
    change(rest, &json!({"cache_size": 600}));
    in_both(&api, rest, 600);

    // The old token stops being valid; what was changed meanwhile is written with the new one.
    api.take_token("second");
    change(rest, &json!({"cache_size": 700}));
    told(rest, "degraded", &["Unauthorized"]);
    account.put("token", "second");
    in_both(&api, rest, 700);

    api.refuse(Some(403));
    change(rest, &json!({"cache_size": 800}));
    told(rest, "degraded", &["Forbidden"]);
    api.refuse(None);
    in_both(&api, rest, 800);

    // Nothing that anybody needs to hear of.
    let failures = || process.output().matches("cannot be watched").count();
    let before = failures();
    api.forget_old_versions();
    api.kubectl(&json!({"cache_size": "900"}));
    in_both(&api, rest, 900);
    assert_eq!(failures(), before);
}
