"""Which rights accounts have by the manifests, and which they use by the audit log."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from harness.cluster import Cluster

Object = dict[str, Any]


class Right(NamedTuple):
    """`name` is "" where it is for objects of any name."""

    account: str
    group: str
    resource: str
    verb: str
    name: str


def granted(objects: Iterable[Object], account_of: Callable[[Object], str]) -> set[Right]:
    """The rights by the Roles in `objects`. `account_of` gives a name for the subject of a binding,
    or "" for one that does not matter."""
    found = list(objects)
    roles = {
        (each["kind"], each["metadata"]["name"]): each["rules"]
        for each in found
        if each["kind"] in ("Role", "ClusterRole")
    }
    return {
        Right(account, group, resource, verb, name)
        for binding in found
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
        if (account := account_of(subject))
        for rule in roles.get((binding["roleRef"]["kind"], binding["roleRef"]["name"]), ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def used(cluster: Cluster, account_of: Callable[[Object], str]) -> set[Right]:
    """Each once with the object's name, and once without. `account_of` gives a name for the user of
    a request, or "" for one that does not matter."""
    found = set()
    for request in cluster.requests():
        where, account = request.get("objectRef"), account_of(request["user"])
        if where is None or not account or request["responseStatus"]["code"] == 403:
            continue
        resource = "/".join(part for part in (where["resource"], where.get("subresource")) if part)
        right = Right(account, where.get("apiGroup", ""), resource, request["verb"], "")
        found |= {right, right._replace(name=where.get("name", ""))}
    return found
