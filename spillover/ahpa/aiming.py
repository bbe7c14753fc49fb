"""Finds what an AdvancedHorizontalPodAutoscaler scales, and whether somebody else scales it too."""

from dataclasses import dataclass

from spillover.ahpa.scaling import Scale, Scaler, TargetError
from spillover.ahpa.status import Obstacle, Problem
from spillover.ahpa.workloads import Hpa, Stored, View, pods_of
from spillover.core.autoscaling.autoscaler import Autoscaler, Target
from spillover.kube.session import ApiError, NoAnswerError


@dataclass(frozen=True, slots=True)
class Aim:
    """The workload of an object, and the HPA whose minimum is moved in its place, if any."""

    workload: Target
    scale: Scale
    hpa: Hpa | None
    pods: str
    """A regular expression for the names of its pods."""

    @property
    def asked(self) -> int:
        """The number that was asked for last."""
        return self.hpa.least if self.hpa is not None else self.scale.wanted


class ObstacleError(Exception):
    """Nothing can be scaled."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Aims:
    def __init__(self, view: View, scaler: Scaler) -> None:
        self._view = view
        self._scaler = scaler

    async def of(self, autoscaler: Autoscaler) -> Aim:
        """What is to be scaled. Raises ObstacleError."""
        namespace, target = autoscaler.key.namespace, autoscaler.target
        hpa: Hpa | None = None
        workload = target
        if target.is_hpa:
            hpa = self._view.hpas.get(namespace, target.name)
            if hpa is None:
                text = f"HorizontalPodAutoscaler {target.name} does not exist"
                raise ObstacleError(Problem(Obstacle.TARGET_NOT_FOUND, text))
            workload = _aim_of(hpa)
        try:
            scale = await self._scaler.read(namespace, workload)
        except TargetError as error:
            raise ObstacleError(Problem(Obstacle.TARGET_NOT_FOUND, str(error))) from error
        except (ApiError, NoAnswerError) as error:
            raise ObstacleError(Problem(Obstacle.API_UNAVAILABLE, str(error))) from error
        owners = self._view.replica_sets_of(namespace, scale.uid)
        return Aim(workload, scale, hpa, pods_of(workload.kind, workload.name, owners))

    def obstacle(self, stored: Stored, autoscaler: Autoscaler, aim: Aim) -> Problem | None:
        """Why the object must not scale its target, or None."""
        namespace, target = autoscaler.key.namespace, autoscaler.target
        advice = ""
        if older := self._view.older_autoscaler(stored, target):
            rival = f"AdvancedHorizontalPodAutoscaler {older}"
        elif aim.hpa is None and (other := self._view.other_hpa(namespace, target)) is not None:
            rival = f"HorizontalPodAutoscaler {other.metadata.name}"
            advice = ". Aim this object at that HorizontalPodAutoscaler instead"
        elif aim.hpa is None and aim.scale.wanted == 0:
            text = (
                f"{target.kind} {target.name} has 0 replicas: scaling is paused until it has some"
            )
            return Problem(Obstacle.DISABLED, text)
        else:
            return None
        text = f"{rival} scales {target.kind} {target.name} too: this object scales nothing{advice}"
        return Problem(Obstacle.ANOTHER_AUTOSCALER, text)


def _aim_of(hpa: Hpa) -> Target:
    """The workload that an HPA scales. Raises ObstacleError."""
    reference = hpa.spec.scale_target_ref
    group, _, version = reference.api_version.rpartition("/")
    workload = Target(group, version, reference.kind, reference.name)
    if not workload.is_addressable:
        text = f"HorizontalPodAutoscaler {hpa.metadata.name} aims at nothing that can exist"
        raise ObstacleError(Problem(Obstacle.TARGET_NOT_FOUND, text))
    return workload
