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

    async def of(self, stored: Stored, autoscaler: Autoscaler) -> Aim:
        """What is to be scaled. Raises ObstacleError."""
        self._refuse_rivals(stored, autoscaler)
        return await self.read(autoscaler)

    async def read(self, autoscaler: Autoscaler) -> Aim:
        """The same, whoever else scales it."""
        namespace, target = autoscaler.key.namespace, autoscaler.target
        hpa: Hpa | None = None
        workload = target
        if target.is_hpa:
            hpa = self._view.hpas.objects.get((namespace, target.name))
            if hpa is None:
                text = f"HorizontalPodAutoscaler {target.name} does not exist"
                raise ObstacleError(Problem(Obstacle.TARGET_NOT_FOUND, text))
            reference = hpa.spec.scale_target_ref
            group, _, version = reference.api_version.rpartition("/")
            workload = Target(group, version, reference.kind, reference.name)
            if not workload.is_addressable:
                text = f"HorizontalPodAutoscaler {target.name} aims at nothing that can exist"
                raise ObstacleError(Problem(Obstacle.TARGET_NOT_FOUND, text))
        try:
            scale = await self._scaler.read(namespace, workload)
        except TargetError as error:
            raise ObstacleError(Problem(Obstacle.TARGET_NOT_FOUND, str(error))) from error
        except (ApiError, NoAnswerError) as error:
            raise ObstacleError(Problem(Obstacle.API_UNAVAILABLE, str(error))) from error
        owners = self._view.replica_sets_of(namespace, scale.uid)
        return Aim(workload, scale, hpa, pods_of(workload.kind, workload.name, owners))

    def _refuse_rivals(self, stored: Stored, autoscaler: Autoscaler) -> None:
        """Raises ObstacleError if somebody else scales the target."""
        namespace, target = autoscaler.key.namespace, autoscaler.target
        advice = ""
        if older := self._view.older_autoscaler(stored, target):
            rival = f"AdvancedHorizontalPodAutoscaler {older}"
        elif not target.is_hpa and (other := self._view.other_hpa(namespace, target)) is not None:
            rival = f"HorizontalPodAutoscaler {other.metadata.name}"
            advice = ". Aim this object at that HorizontalPodAutoscaler instead"
        else:
            return
        text = f"{rival} scales {target.kind} {target.name} too: this object scales nothing{advice}"
        raise ObstacleError(Problem(Obstacle.ANOTHER_AUTOSCALER, text))
