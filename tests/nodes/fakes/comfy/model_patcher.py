"""Stand-in for ``comfy.model_patcher``."""


class ModelPatcher:
    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.additional_models: dict[str, list] = {}
        self.patches, self.backup, self.object_patches, self.hook_patches, self.wrappers = {}, {}, {}, {}, {}
        self.model_options = {"transformer_options": {}}

    def clone(self):
        return ModelPatcher(self.model, self.load_device, self.offload_device)

    def add_wrapper_with_key(self, kind, key, wrapper):
        self.wrappers.setdefault(kind, {})[key] = [wrapper]

    def set_additional_models(self, key, models):
        self.additional_models[key] = models

    def get_model_object(self, name):
        return getattr(self.model, name)
