"""A loaded TensorRT engine: checked against its manifest, and contexts to run it with."""

from pathlib import Path
from typing import Any

from lenet_runtime.artifact import IMAGES, Manifest
from lenet_runtime.backends.tensorrt import inspection
from lenet_runtime.backends.tensorrt.core import Profile
from lenet_runtime.backends.tensorrt.library import Library
from lenet_runtime.errors import ArtifactError


class Engine:
    """One deserialized engine, checked against its manifest.

    Args:
        library: that it is for.
        data: ``model.engine``.
        manifest: of its artifact.
        where: the file, for messages.

    Raises:
        ArtifactError: see `Library.deserialize`; or its tensors, its profile or the types that it
            computes in are not those of the manifest.
    """

    def __init__(self, library: Library, data: bytes, manifest: Manifest, where: Path) -> None:
        self.library = library
        self.image_shape, self.classes = manifest.image_shape, manifest.classes
        self._output = manifest.output
        self.profile = Profile(*manifest.requirements.profile)
        self._engine = library.deserialize(data, where)
        found, expected = self._tensors(), _expected_tensors(manifest, self.profile)
        if found != expected:
            raise ArtifactError(
                f"{where}: expected {expected} as the manifest says, found {found}; export it again"
            )
        wrong = inspection.mismatches(self.layers(), manifest.kernels)
        if wrong:
            raise ArtifactError(
                f"{where}: it computes in other types than the manifest says: {'; '.join(wrong)}; "
                "export it again"
            )
        self.scratch_bytes = int(self._engine.device_memory_size_v2)
        self._config = self._runtime_config()

    def layers(self) -> str:
        """What the engine inspector tells, one line a layer; see `inspection`."""
        inspector = self._engine.create_engine_inspector()
        oneline = self.library.trt.LayerInformationFormat.ONELINE
        text: str = inspector.get_engine_information(oneline) if inspector else ""
        return text

    def _tensors(self) -> dict[str, object]:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found: dict[str, object] = {
            name: (engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name)))
            for name in sorted(names)
        }
        if IMAGES in found:
            shapes = engine.get_tensor_profile_shape(IMAGES, 0)
            found["profile"] = str(Profile(*(next(iter(shape)) for shape in shapes)))
        return found

    def _runtime_config(self) -> Any:
        """How TensorRT-RTX finishes compiling: for each shape, before it runs, and once.

        Its default is to run general kernels at first and better ones later; a CUDA graph would
        keep the first for ever. TensorRT has compiled everything already, and no such settings.
        """
        trt = self.library.trt
        if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            return None
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        config.set_runtime_cache(config.create_runtime_cache())
        return config

    def context(self, batch: int, images: int, logits: int, scratch: tuple[int, int]) -> Any:
        """An execution context for one batch size.

        Args:
            batch: images in it.
            images: device address of them.
            logits: device address to put them at.
            scratch: device address and bytes of memory for what is between.

        Raises:
            DeviceMemoryError: the GPU has too little free memory.
            DeployError: TensorRT makes none, in its own words.
        """
        managed = self.library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(self._config or managed)
        if context is None:
            raise self.library.failure(f"making an execution context for {batch} images")
        context.set_device_memory(*scratch)
        if not (
            context.set_input_shape(IMAGES, (batch, *self.image_shape))
            and context.set_tensor_address(IMAGES, images)
            and context.set_tensor_address(self._output, logits)
        ):
            raise self.library.failure(f"preparing a batch of {batch}")
        return context


def _expected_tensors(manifest: Manifest, profile: Profile) -> dict[str, object]:
    tensors = (*manifest.inputs, *manifest.outputs)
    found: dict[str, object] = {
        spec.name: ("FLOAT", tuple(-1 if size is None else size for size in spec.shape))
        for spec in sorted(tensors, key=lambda spec: spec.name)
    }
    return found | {"profile": str(profile)}
