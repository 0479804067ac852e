"""Every rule must be able to fail: each is shown the manifests with one fault put in."""

import copy
import unittest

import objects
import policy

PRISTINE = objects.read()


def find(items, kind, name, under="deployment/production/"):
    return next(item for item in items.items if item.kind == kind and item.name == name and item.file.startswith(under))


def data_plane(items):
    return find(items, "Deployment", "api-optimizer")


def control_plane(items):
    return find(items, "Deployment", "api-optimizer-control")


def container(items):
    return data_plane(items).pod["containers"][0]


def service(items):
    return find(items, "Service", "api-optimizer")


def annotations(item):
    return item.body["spec"]["template"]["metadata"]["annotations"]


def role(items):
    return find(items, "Role", "api-optimizer-operator", "base/")


def config_map_rule(items):
    return find(items, "Role", "api-optimizer-config-map", "options/").body["rules"][0]


def extra(items, kind, file="deployment/production/more.yaml", **body):
    items.items.append(objects.Item(file, {"kind": kind, "metadata": {"name": "more"}, **body}))


FAULTS = {
    "images_are_pinned": [
        lambda items: container(items).update(image="registry.company.com/api-optimizer/envoy:latest"),
        lambda items: container(items).update(image="registry.company.com:5000/envoy"),
    ],
    "pods_are_unprivileged": [
        lambda items: data_plane(items).pod.update(hostNetwork=True),
        lambda items: data_plane(items).pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda items: data_plane(items).pod["securityContext"].update(runAsNonRoot=False),
        lambda items: data_plane(items).pod["securityContext"].pop("seccompProfile"),
        lambda items: data_plane(items).pod.pop("automountServiceAccountToken"),
    ],
    "containers_are_unprivileged": [
        lambda items: container(items)["securityContext"].update(privileged=True),
        lambda items: container(items)["securityContext"].pop("readOnlyRootFilesystem"),
    ],
    "containers_are_bounded": [lambda items: container(items)["resources"]["limits"].pop("memory")],
    "scratch_is_there": [
        lambda items: control_plane(items).pod["containers"][0]["volumeMounts"].pop(),
        lambda items: control_plane(items).pod["volumes"][-1].update(emptyDir={"sizeLimit": "1Gi"}),
        lambda items: control_plane(items).pod["containers"][0]["resources"]["limits"].update({"ephemeral-storage": "256Mi"}),
        lambda items: data_plane(items).pod["volumes"][0].update(emptyDir={}),
    ],
    "containers_are_probed": [lambda items: container(items).pop("livenessProbe")],
    "pods_drain": [
        lambda items: container(items)["lifecycle"]["preStop"]["exec"].update(command=["sleep", "5"]),
        lambda items: data_plane(items).pod.update(terminationGracePeriodSeconds=20),
        lambda items: container(items).pop("lifecycle"),
    ],
    "default_container_is_named": [lambda items: annotations(data_plane(items)).clear()],
    "config_is_mounted_whole": [lambda items: container(items)["volumeMounts"][0].update(subPath="cache_size")],
    "deployments_are_disjoint": [
        lambda items: data_plane(items).body["spec"]["selector"]["matchLabels"].pop("version"),
        lambda items: data_plane(items).body["spec"]["selector"].update(matchLabels={"app": "api-optimizer", "version": "new"}),
    ],
    "changes_are_told": [lambda items: data_plane(items).body["metadata"].pop("annotations")],
    "scaling_is_left_alone": [
        lambda items: data_plane(items).body["spec"].update(replicas=2),
        lambda items: control_plane(items).body["spec"].update(replicas=2),
        lambda items: control_plane(items).body["spec"].update(strategy={"type": "RollingUpdate"}),
    ],
    "steady_state_is_small": [lambda items: control_plane(items).body["spec"].update(replicas=3)],
    "switch_is_where_it_belongs": [
        lambda items: service(items).body["spec"]["selector"].update(version="new"),
        lambda items: items.items.remove(service(items)),
    ],
    "services_lead_somewhere": [lambda items: service(items).body["spec"]["ports"][0].update(targetPort="htttp")],
    "releases_hold_only_releases": [
        lambda items: extra(items, "ConfigMap"),
        lambda items: extra(items, "Secret", file="base/once/secrets.yaml"),
        lambda items: service(items).body["metadata"].update(namespace="production"),
    ],
    "settings_are_there": [
        lambda items: find(items, "ConfigMap", "api-optimizer-config", "base/").body["data"].update(cache_size="large"),
    ],
    "isolation_replaces": [
        lambda items: find(items, "NetworkPolicy", "api-optimizer-base", "security/").body["metadata"].update(name="isolation"),
        lambda items: find(items, "NetworkPolicy", "api-optimizer-base", "security/").body["spec"].update(egress=[{}]),
    ],
    "rights_are_few": [
        lambda items: extra(items, "ClusterRole", file="base/cluster/more.yaml"),
        lambda items: role(items).body["rules"][0].update(verbs=["*"]),
        lambda items: [rule.pop("resourceNames", None) for rule in role(items).body["rules"]],
    ],
    "roles_name_what_exists": [
        lambda items: [rule["resourceNames"].append("gone") for rule in role(items).body["rules"] if "resourceNames" in rule],
    ],
    "control_planes_touch_one_config_map": [
        lambda items: config_map_rule(items).pop("resourceNames"),
        lambda items: config_map_rule(items)["verbs"].append("delete"),
    ],
}


class EveryRule(unittest.TestCase):
    def test_passes_the_manifests_as_they_are(self):
        self.assertEqual(policy.findings(PRISTINE), [])

    def test_has_its_faults_here(self):
        self.assertEqual(set(FAULTS), {rule.__name__ for rule in policy.RULES})

    def test_finds_them(self):
        for rule in policy.RULES:
            for number, put_in in enumerate(FAULTS[rule.__name__]):
                with self.subTest(rule=rule.__name__, fault=number):
                    items = copy.deepcopy(PRISTINE)
                    put_in(items)
                    self.assertNotEqual(list(rule(items)), [])


if __name__ == "__main__":
    unittest.main()
