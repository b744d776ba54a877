"""Mutation by the API server itself: a MutatingAdmissionPolicy, and no process of ours anywhere.

For the common case: a labelled pod gets its variables, its mount and its volume. Each ServiceAccount of the
pod's namespace is a parameter, and the pod's own is the one that counts. What a policy cannot do (the
sidecar, the custom token endpoint) is refused by a second policy in words, not left out in silence, and a pod
that was missed by a third. The volume's name bears no hash of the pod's name: expressions have none, and
nothing needs it.
"""

import json
from typing import Any

from podpass import names
from podpass.account.annotations import DEFAULT_TOKEN_SECONDS, TOKEN_SECONDS
from podpass.admission.webhook_configuration import NEW_PODS, elsewhere
from podpass.manifests.meta import Object, write
from podpass.manifests.values import Values
from podpass.settings import WebhookSettings

POLICY = "azure-wi-policy"
CHECKS = "azure-wi-policy-checks"
MUTATED = "azure-wi-policy-mutated"
VOLUME = names.VOLUME_PREFIX + "policy"
# What means something without a webhook.
KEYS = ("audience", "azureEnvironment", "azureTenantID", "exemptNamespaces", "failurePolicy")

_GROUP = "admissionregistration.k8s.io/v1"
_TOKEN_FILE = f"{names.MOUNT_PATH}/{names.TOKEN_PATH}"
# Without a name or labels to choose by, every account of the pod's namespace is a parameter.
_ACCOUNTS = {"selector": {}, "parameterNotFoundAction": "Deny"}
# A number that an int64 holds for certain; what is none is the checks' to refuse, in words.
_IS_NUMBER = "variables.asked.matches('^[+]?[0-9]{1,9}$')"


def policy(values: Values) -> list[Object]:
    """Write the policies and their bindings; they need Kubernetes 1.36 or newer.

    Errors:  SettingsError for a cloud that describes itself in a file.
    """
    return [
        write(_GROUP, "ValidatingAdmissionPolicy", CHECKS, spec=_checks(values)),
        _binding("ValidatingAdmissionPolicy", CHECKS, paramRef=_ACCOUNTS, **_denies(values)),
        write(_GROUP, "ValidatingAdmissionPolicy", MUTATED, spec=_mutated(values)),
        _binding("ValidatingAdmissionPolicy", MUTATED, **_denies(values)),
        write(_GROUP, "MutatingAdmissionPolicy", POLICY, spec=_mutating(values)),
        _binding("MutatingAdmissionPolicy", POLICY, paramRef=_ACCOUNTS),
    ]


def _binding(of: str, policy_name: str, **rest: Any) -> Object:
    return write(_GROUP, f"{of}Binding", policy_name, spec={"policyName": policy_name, **rest})


def _denies(values: Values) -> dict[str, Any]:
    return {"validationActions": ["Deny" if values.failure_policy == "Fail" else "Warn"]}


def _pods(values: Values) -> dict[str, Any]:
    """Say which pods are meant: labelled ones, where they are created."""
    exempt = values.exempt_namespaces
    return {
        "failurePolicy": values.failure_policy,
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": elsewhere(exempt) if exempt else {},
            "objectSelector": {"matchLabels": {names.USE_LABEL: "true"}},
            "resourceRules": [NEW_PODS],
        },
    }


def _with_their_account(values: Values) -> dict[str, Any]:
    own = (
        "(object.spec.?serviceAccountName.orValue('') == '' ? 'default'"
        " : object.spec.serviceAccountName) == params.metadata.name"
    )
    return {
        **_pods(values),
        "paramKind": {"apiVersion": "v1", "kind": "ServiceAccount"},
        "matchConditions": [{"name": "its-own-account", "expression": own}],
    }


def _text(value: str) -> str:
    """Write a text of the user's into an expression; what JSON escapes, expressions read back."""
    return json.dumps(value)


def _annotation(of: str, name: str, default: str = "") -> str:
    return f"{of}.metadata.?annotations[?'{name}'].orValue({_text(default)})"


def _variable(name: str, expression: str) -> dict[str, str]:
    return {"name": name, "expression": expression}


def _expiration() -> dict[str, str]:
    """Choose the lifetime of the token: the pod's, then its account's, then an hour."""
    pod = _annotation("object", names.TOKEN_EXPIRATION)
    account = _annotation("params", names.TOKEN_EXPIRATION)
    return _variable(
        "asked",
        f"{pod} != ''\n? {pod}\n: {account} != ''\n? {account}\n: '{DEFAULT_TOKEN_SECONDS}'",
    )


def _mutating(values: Values) -> dict[str, Any]:
    settings = WebhookSettings.from_environ(
        {"AZURE_TENANT_ID": values.tenant_id, "AZURE_ENVIRONMENT": values.environment}
    )
    client, tenant = (
        _annotation("params", names.CLIENT_ID),
        _annotation("params", names.TENANT_ID, values.tenant_id),
    )
    told = [
        (names.ENV_CLIENT_ID, client),
        (names.ENV_TENANT_ID, tenant),
        (names.ENV_TOKEN_FILE, _text(_TOKEN_FILE)),
        (names.ENV_AUTHORITY_HOST, _text(settings.authority_host)),
    ]
    env = ",\n  ".join(f"{{'name': '{name}', 'value': {value}}}" for name, value in told)
    skip = _annotation("object", names.SKIP_CONTAINERS)
    variables = [
        _expiration(),
        _variable("seconds", f"{_IS_NUMBER} ? int(variables.asked) : {DEFAULT_TOKEN_SECONDS}"),
        _variable("skip", f"{skip}.split(';').map(name, name.trim())"),
        _variable("env", f"[\n  {env}\n].filter(one, one.value != '')"),
    ]
    return {
        **_with_their_account(values),
        "reinvocationPolicy": "IfNeeded",
        "variables": variables,
        "mutations": [
            _containers("initContainers"),
            _containers("containers"),
            _volume(values.audience or names.EXCHANGE_AUDIENCE),
        ],
    }


def _containers(of: str) -> dict[str, Any]:
    """Give each container what it has not: a variable of the user's stays what it is.

    An apply configuration would say it shorter, and refuses every container that names a variable twice.
    """
    mount = f"{{'name': dyn('{VOLUME}'), 'mountPath': dyn('{names.MOUNT_PATH}'), 'readOnly': dyn(true)}}"
    each, none = f"object.spec.?{of}.orValue([])", "?{}.orValue([])".format
    expression = f"""{each}.transformList(i, c, !(c.name in variables.skip), JSONPatch{{
  op: 'add',
  path: '/spec/{of}/' + string(i) + '/env',
  value: c.{none("env")} + variables.env.filter(one, !c.{none("env")}.exists(e, e.name == one.name))
}})
+ {each}.transformList(i, c,
    !(c.name in variables.skip)
    && !c.{none("volumeMounts")}.exists(m, m.mountPath == '{names.MOUNT_PATH}'), JSONPatch{{
  op: 'add',
  path: '/spec/{of}/' + string(i) + '/volumeMounts',
  value: c.{none("volumeMounts")} + [{mount}]
}})"""
    return _json_patch(expression)


def _json_patch(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def _volume(audience: str) -> dict[str, Any]:
    """Add the volume, once.

    Its value is maps of `dyn`: a list of Object{...} in a value makes the API server (1.34 to 1.37) panic.
    """
    token = f"""{{'serviceAccountToken': {{
      'path': dyn('{names.TOKEN_PATH}'),
      'audience': dyn({_text(audience)}),
      'expirationSeconds': dyn(variables.seconds)}}}}"""
    volume = f"{{'name': dyn('{VOLUME}'), 'projected': dyn({{'sources': [{token}]}})}}"
    expression = f"""object.spec.?volumes.orValue([]).exists(v, v.name == '{VOLUME}')
? []
: (has(object.spec.volumes)
    ? [] : [JSONPatch{{op: 'add', path: '/spec/volumes', value: []}}])
  + [JSONPatch{{op: 'add', path: '/spec/volumes/-', value: {volume}}}]"""
    return _json_patch(expression)


def _checks(values: Values) -> dict[str, Any]:
    """Refuse in words what the policy could not do rightly."""
    least, most = TOKEN_SECONDS
    valid = f"{_IS_NUMBER} && int(variables.asked) >= {least} && int(variables.asked) <= {most}"
    said = (
        f"'{names.TOKEN_EXPIRATION} is ' + variables.asked"
        f" + ', on the pod or on its ServiceAccount: want {least} to {most} seconds'"
    )
    sidecar = f"!('{names.INJECT_PROXY}' in object.metadata.?annotations.orValue({{}}))"
    endpoint = (
        f"!object.metadata.?annotations.orValue({{}}).exists(key,"
        f" key.startsWith('{names.USE_CUSTOM_ENDPOINT_PREFIX}')"
        " && object.metadata.annotations[key].lowerAscii() == 'true')"
    )
    return {
        **_with_their_account(values),
        "variables": [_expiration()],
        "validations": [
            {"expression": valid, "messageExpression": said},
            {
                "expression": sidecar,
                "message": f"{names.INJECT_PROXY}: only the webhook injects the sidecar;"
                " this cluster has a policy instead",
            },
            {
                "expression": endpoint,
                "message": f"{names.USE_CUSTOM_ENDPOINT_PREFIX}*: only the webhook leads to a custom"
                " token endpoint; this cluster has a policy instead",
            },
        ],
    }


def _mutated(values: Values) -> dict[str, Any]:
    """Refuse a labelled pod that came through unchanged.

    The API server knows accounts from a cache: a pod that comes a moment after its account has no parameter,
    and would start without its identity. Refused, its controller tries again.
    """
    there = (
        f"object.spec.?volumes.orValue([]).exists(v, v.name.startsWith('{names.VOLUME_PREFIX}'))"
    )
    said = (
        "'ServiceAccount ' + object.spec.?serviceAccountName.orValue('default')"
        " + ' is not known to admission policies yet: create the pod again in a moment'"
    )
    return {**_pods(values), "validations": [{"expression": there, "messageExpression": said}]}
