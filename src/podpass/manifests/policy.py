"""Build admission policies with which the API server itself injects the identity, without a webhook process.

The MutatingAdmissionPolicy covers the common case: a labelled pod gets variables, mount and volume. All
ServiceAccounts of the namespace are parameters, and the pod's own one is selected. A second policy refuses,
with a message, pods that need the sidecar or the custom token endpoint, which a policy cannot provide. A
third policy refuses a labelled pod that was not changed. The volume's name has no hash of the pod's name: CEL
has no hash function, and none is needed.
"""

import json
from typing import Any

from podpass import names
from podpass.account.annotations import DEFAULT_TOKEN_SECONDS, TOKEN_SECONDS
from podpass.admission.webhook_configuration import POD_CREATE_RULE, exclude_namespaces
from podpass.manifests.values import LABELS, ManifestValues, Object
from podpass.settings import WebhookSettings

POLICY = "azure-wi-policy"
CHECKS = "azure-wi-policy-checks"
MUTATED = "azure-wi-policy-mutated"
VOLUME = names.VOLUME_PREFIX + "policy"
# The chart's values that apply without a webhook.
POLICY_KEYS = ("audience", "azureEnvironment", "azureTenantID", "exemptNamespaces", "failurePolicy")

_GROUP = "admissionregistration.k8s.io/v1"
_VARIABLES = (
    names.ENV_CLIENT_ID,
    names.ENV_TENANT_ID,
    names.ENV_TOKEN_FILE,
    names.ENV_AUTHORITY_HOST,
)
_TOKEN_FILE = f"{names.MOUNT_PATH}/{names.TOKEN_PATH}"
# An empty selector: every ServiceAccount of the pod's namespace is a parameter.
_ACCOUNTS = {"selector": {}, "parameterNotFoundAction": "Deny"}
# A number within the range of an int64; the checks refuse other values, with a message.
_IS_NUMBER = "variables.expiration.matches('^[+]?[0-9]{1,9}$')"


def build_policy_objects(values: ManifestValues) -> list[Object]:
    """Build the policies and their bindings; they need Kubernetes 1.36 or newer.

    Raises SettingsError for AzureStackCloud, whose login endpoint is in a file.
    """
    return [
        _build_object("ValidatingAdmissionPolicy", CHECKS, _build_checks_spec(values)),
        _build_binding(
            "ValidatingAdmissionPolicy", CHECKS, paramRef=_ACCOUNTS, **_choose_actions(values)
        ),
        _build_object("ValidatingAdmissionPolicy", MUTATED, _build_mutated_spec(values)),
        _build_binding("ValidatingAdmissionPolicy", MUTATED, **_choose_actions(values)),
        _build_object("MutatingAdmissionPolicy", POLICY, _build_mutating_spec(values)),
        _build_binding("MutatingAdmissionPolicy", POLICY, paramRef=_ACCOUNTS),
    ]


def _build_binding(of: str, policy_name: str, **rest: Any) -> Object:
    return _build_object(f"{of}Binding", policy_name, {"policyName": policy_name, **rest})


def _build_object(kind: str, name: str, spec: dict[str, Any]) -> Object:
    metadata = {"name": name, "labels": dict(LABELS)}
    return {"apiVersion": _GROUP, "kind": kind, "metadata": metadata, "spec": spec}


def _choose_actions(values: ManifestValues) -> dict[str, Any]:
    return {"validationActions": ["Deny" if values["failurePolicy"] == "Fail" else "Warn"]}


def _match_labelled_pods(values: ManifestValues) -> dict[str, Any]:
    """Match the creation of labelled pods."""
    exempt = values["exemptNamespaces"]
    return {
        "failurePolicy": values["failurePolicy"],
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": exclude_namespaces(exempt) if exempt else {},
            "objectSelector": {"matchLabels": {names.USE_LABEL: "true"}},
            "resourceRules": [POD_CREATE_RULE],
        },
    }


def _match_with_account(values: ManifestValues) -> dict[str, Any]:
    own = (
        "(object.spec.?serviceAccountName.orValue('') == '' ? 'default'"
        " : object.spec.serviceAccountName) == params.metadata.name"
    )
    return {
        **_match_labelled_pods(values),
        "paramKind": {"apiVersion": "v1", "kind": "ServiceAccount"},
        "matchConditions": [{"name": "its-own-account", "expression": own}],
    }


def _quote(value: str) -> str:
    """Quote a user's text for CEL, which accepts the escapes of JSON."""
    return json.dumps(value)


def _read_annotation(of: str, name: str, default: str = "") -> str:
    return f"{of}.metadata.?annotations[?'{name}'].orValue({_quote(default)})"


def _build_variable(name: str, expression: str) -> dict[str, str]:
    return {"name": name, "expression": expression}


def _build_expiration_variable() -> dict[str, str]:
    """Choose the token lifetime: that of the pod, otherwise that of its ServiceAccount, otherwise an hour."""
    pod = _read_annotation("object", names.TOKEN_EXPIRATION)
    account = _read_annotation("params", names.TOKEN_EXPIRATION)
    return _build_variable(
        "expiration",
        f"{pod} != ''\n? {pod}\n: {account} != ''\n? {account}\n: '{DEFAULT_TOKEN_SECONDS}'",
    )


def _build_mutating_spec(values: ManifestValues) -> dict[str, Any]:
    settings = WebhookSettings.from_environ(
        {
            "AZURE_TENANT_ID": values["azureTenantID"],
            "AZURE_ENVIRONMENT": values["azureEnvironment"],
        }
    )
    client, tenant = (
        _read_annotation("params", names.CLIENT_ID),
        _read_annotation("params", names.TENANT_ID, values["azureTenantID"]),
    )
    values_in_order = (client, tenant, _quote(_TOKEN_FILE), _quote(settings.authority_host))
    env = ",\n  ".join(
        f"{{'name': '{name}', 'value': {value}}}"
        for name, value in zip(_VARIABLES, values_in_order, strict=True)
    )
    skip = _read_annotation("object", names.SKIP_CONTAINERS)
    variables = [
        _build_expiration_variable(),
        _build_variable(
            "seconds", f"{_IS_NUMBER} ? int(variables.expiration) : {DEFAULT_TOKEN_SECONDS}"
        ),
        _build_variable("skip", f"{skip}.split(';').map(name, name.trim())"),
        _build_variable("env", f"[\n  {env}\n].filter(one, one.value != '')"),
    ]
    return {
        **_match_with_account(values),
        "reinvocationPolicy": "IfNeeded",
        "variables": variables,
        "mutations": [
            _patch_containers("initContainers"),
            _patch_containers("containers"),
            _patch_volume(values["audience"] or names.EXCHANGE_AUDIENCE),
        ],
    }


def _patch_containers(of: str) -> dict[str, Any]:
    """Add the missing variables and the mount to each container; variables of the user stay unchanged.

    An ApplyConfiguration would be shorter, but it fails for a container that has a variable twice. No patch
    repeats an existing list, because the API server 1.37 cannot convert the objects in it to a value.
    """
    mount = f"{{'name': dyn('{VOLUME}'), 'mountPath': dyn('{names.MOUNT_PATH}'), 'readOnly': dyn(true)}}"
    unmounted = f"!c.?volumeMounts.orValue([]).exists(m, m.mountPath == '{names.MOUNT_PATH}')"
    patches = [
        _add_to_containers(of, _is_empty("c.?env"), "env", "[]"),
        *(
            _add_to_containers(of, _is_missing(index), "env/-", f"variables.env[{index}]")
            for index in range(len(_VARIABLES))
        ),
        _add_to_containers(of, _is_empty("c.?volumeMounts"), "volumeMounts", "[]"),
        _add_to_containers(of, unmounted, "volumeMounts/-", mount),
    ]
    return _build_json_patch("\n+ ".join(patches))


def _is_empty(path: str) -> str:
    """Return the condition that a list is missing or empty: the API server removes an empty list."""
    return f"{path}.orValue([]).size() == 0"


def _is_missing(index: int) -> str:
    """Return the condition that a container has no variable of this name; an empty one is left out."""
    env = f"variables.env.size() > {index} && !c.?env.orValue([])"
    return f"{env}.exists(e, e.name == variables.env[{index}].name)"


def _add_to_containers(of: str, condition: str, path: str, value: str) -> str:
    """Return an expression with one patch for each container that is not skipped and fulfils a condition."""
    return f"""object.spec.?{of}.orValue([]).transformList(i, c,
  !(c.name in variables.skip) && {condition},
  JSONPatch{{op: 'add', path: '/spec/{of}/' + string(i) + '/{path}', value: {value}}})"""


def _build_json_patch(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def _patch_volume(audience: str) -> dict[str, Any]:
    """Add the volume if it is missing.

    Its value consists of maps of `dyn`: a list of Object{...} makes the API server (1.34 to 1.37) panic.
    """
    token = f"""{{'serviceAccountToken': {{
      'path': dyn('{names.TOKEN_PATH}'),
      'audience': dyn({_quote(audience)}),
      'expirationSeconds': dyn(variables.seconds)}}}}"""
    volume = f"{{'name': dyn('{VOLUME}'), 'projected': dyn({{'sources': [{token}]}})}}"
    expression = f"""object.spec.?volumes.orValue([]).exists(v, v.name == '{VOLUME}')
? []
: ({_is_empty("object.spec.?volumes")}
    ? [JSONPatch{{op: 'add', path: '/spec/volumes', value: []}}] : [])
  + [JSONPatch{{op: 'add', path: '/spec/volumes/-', value: {volume}}}]"""
    return _build_json_patch(expression)


def _build_checks_spec(values: ManifestValues) -> dict[str, Any]:
    """Refuse, with a message, pods that the policy cannot handle correctly."""
    low, high = TOKEN_SECONDS
    valid = (
        f"{_IS_NUMBER} && int(variables.expiration) >= {low} && int(variables.expiration) <= {high}"
    )
    message_expression = (
        f"'{names.TOKEN_EXPIRATION} is ' + variables.expiration"
        f" + ', on the pod or on its ServiceAccount: want {low} to {high} seconds'"
    )
    sidecar = f"!('{names.INJECT_PROXY}' in object.metadata.?annotations.orValue({{}}))"
    legacy = f"!('{names.LEGACY_TOKEN_PATH}' in object.metadata.?annotations.orValue({{}}))"
    endpoint = (
        f"!object.metadata.?annotations.orValue({{}}).exists(key,"
        f" key.startsWith('{names.USE_CUSTOM_ENDPOINT_PREFIX}')"
        " && object.metadata.annotations[key].lowerAscii() == 'true')"
    )
    return {
        **_match_with_account(values),
        "variables": [_build_expiration_variable()],
        "validations": [
            {"expression": valid, "messageExpression": message_expression},
            {
                "expression": sidecar,
                "message": f"{names.INJECT_PROXY}: only the webhook injects the sidecar;"
                " this cluster has a policy instead",
            },
            {
                "expression": legacy,
                "message": f"{names.LEGACY_TOKEN_PATH}: only the webhook mounts the token at a second path;"
                " this cluster has a policy instead",
            },
            {
                "expression": endpoint,
                "message": f"{names.USE_CUSTOM_ENDPOINT_PREFIX}*: only the webhook configures a custom"
                " token endpoint; this cluster has a policy instead",
            },
        ],
    }


def _build_mutated_spec(values: ManifestValues) -> dict[str, Any]:
    """Refuse a labelled pod that was not changed.

    The API server caches ServiceAccounts. A pod that is created right after its ServiceAccount has no
    parameter and would start without its identity. After a refusal, its controller retries.
    """
    there = (
        f"object.spec.?volumes.orValue([]).exists(v, v.name.startsWith('{names.VOLUME_PREFIX}'))"
    )
    message_expression = (
        "'ServiceAccount ' + object.spec.?serviceAccountName.orValue('default')"
        " + ' is not known to admission policies yet: create the pod again in a moment'"
    )
    return {
        **_match_labelled_pods(values),
        "validations": [{"expression": there, "messageExpression": message_expression}],
    }
