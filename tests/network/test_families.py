"""Every family of networks that torchvision and timm have: its smallest member lives a whole life, or is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torchvision
from families import live

from recipe.errors import ConfigError
from recipe.plan.compose import Plan

# Family (torchvision's file, timm's module): its smallest member.
TORCHVISION = (  # noqa: SIM905
    "alexnet:alexnet convnext:convnext_tiny densenet:densenet121 efficientnet:efficientnet_b0 googlenet:googlenet "
    "inception:inception_v3 maxvit:maxvit_t mnasnet:mnasnet0_5 mobilenetv2:mobilenet_v2 "
    "mobilenetv3:mobilenet_v3_small regnet:regnet_y_400mf resnet:resnet18 shufflenetv2:shufflenet_v2_x0_5 "
    "squeezenet:squeezenet1_1 swin_transformer:swin_t vgg:vgg11 vision_transformer:vit_b_16"
).split()
TIMM = (  # noqa: SIM905
    "beit:beit_base_patch16_224 byoanet:halonet_h1 byobnet:test_byobnet cait:cait_xxs24_224 coat:coat_tiny "
    "convit:convit_tiny convmixer:convmixer_768_32 convnext:test_convnext cpubone:cpubone_nano "
    "crossvit:crossvit_tiny_240 csatv2:csatv2 cspnet:cs3darknet_focus_s cspnext:cspnext_tiny davit:davit_tiny "
    "deepseek_vit:deepseek_vit_412m deit:deit_tiny_patch16_224 densenet:densenet121 dla:dla46x_c dpn:dpn48b "
    "edgenext:edgenext_xx_small efficientformer:efficientformer_l1 efficientformer_v2:efficientformerv2_s0 "
    "efficientnet:test_efficientnet efficientvim:efficientvim_m1 efficientvit_mit:efficientvit_b0 "
    "efficientvit_msra:efficientvit_m0 eva:vit_tiny_patch16_dinov3_qkvb fasternet:fasternet_t0 fastvit:fastvit_t8 "
    "focalnet:focalnet_tiny_srf gcvit:gcvit_xxtiny gemma4_vit:gemma4_vit_167m ghostnet:ghostnet_050 "
    "hardcorenas:hardcorenas_b hgnet:hgnetv2_b0 hiera:hiera_tiny_224 hieradet_sam2:sam2_hiera_tiny "
    "hrnet:hrnet_w18_small iformer:iformer_t inception_next:inception_next_atto "
    "inception_resnet_v2:inception_resnet_v2 inception_v3:inception_v3 inception_v4:inception_v4 "
    "lcnetv2:lcnetv2_small levit:levit_128s lowformer:lowformer_b0 mambaout:test_mambaout maxxvit:test_coatnet "
    "metaformer:poolformerv2_s12 mlp_mixer:gmlp_ti16_224 mobilenetv3:mobilenetv3_small_050 "
    "mobilenetv5:mobilenetv5_base mobilevit:mobilevit_xxs mvitv2:mvitv2_tiny "
    "naflexvit:naflexvit_base_patch16_parfac_gap nasnet:nasnetalarge nest:nest_tiny nextvit:nextvit_small "
    "nfnet:test_nfnet pit:pit_ti_224 pnasnet:pnasnet5large pvt_v2:pvt_v2_b0 qwen3_vit:qwen3_vit_88m rdnet:rdnet_tiny "
    "regnet:regnetx_002 repghost:repghostnet_050 repvit:repvit_m1 res2net:res2next50 resnest:resnest14d "
    "resnet:test_resnet resnetv2:resnetv2_18 rexnet:rexnet_100 selecsls:selecsls42 senet:legacy_seresnet18 "
    "sequencer:sequencer2d_s shvit:shvit_s1 sknet:skresnet18 starnet:starnet_s050 swiftformer:swiftformer_xs "
    "swin_transformer:swin_tiny_patch4_window7_224 swin_transformer_v2:swinv2_tiny_window16_256 "
    "swin_transformer_v2_cr:swinv2_cr_tiny_224 tiny_vit:tiny_vit_5m_224 tnt:tnt_s_legacy_patch16_224 "
    "tresnet:tresnet_m twins:twins_svt_small vgg:vgg11 visformer:visformer_tiny vision_transformer:test_vit "
    "vision_transformer_hybrid:vit_tiny_r_s16_p8_224 vision_transformer_relpos:test_vit_relpos "
    "vision_transformer_sam:samvit_base_patch16_224 vitamin:vitamin_small_224 volo:volo_d1_224 "
    "vovnet:ese_vovnet19b_slim_dw xception:legacy_xception xception_aligned:xception41p xcit:xcit_nano_12_p8_224"
).split()
MORE = ["byoanet:lambda_resnet26t"]  # three-dimensional convolutions
EVERY = [("torchvision", *entry.split(":")) for entry in TORCHVISION]
EVERY += [("timm", *entry.split(":")) for entry in (*TIMM, *MORE)]
QUICK = [  # pixels: fewer than their own where they take them
    ("torchvision", "mnasnet0_5", 64),  # its state dict needs its version
    ("timm", "test_vit", 160),  # takes one size
]
REFUSED: dict[str, str] = {}
TOO_LARGE = ("deepseek_vit_412m",)  # the smallest of its family takes 13 GB of memory and over ten minutes


@pytest.mark.parametrize(("source", "name", "crop"), QUICK)
def test_awkward_networks_live_a_whole_life(
    source: str,
    name: str,
    crop: int,
    plan: Callable[..., Plan],
    recipe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    live(plan, recipe, monkeypatch, tmp_path, source, name, crop)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "family", "name"), [pytest.param(*each, id="-".join(each)) for each in EVERY if each[2] not in TOO_LARGE]
)
def test_the_smallest_of_each_family_lives_a_whole_life_or_is_refused_in_words(
    source: str,
    family: str,
    name: str,
    plan: Callable[..., Plan],
    recipe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if f"{source} {name}" in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[f"{source} {name}"]):
            live(plan, recipe, monkeypatch, tmp_path, source, name)
        assert not (tmp_path / "run").exists()
    else:
        live(plan, recipe, monkeypatch, tmp_path, source, name)
    shutil.rmtree(tmp_path)  # hundreds of megabytes


@pytest.mark.slow  # not of this code alone: a new version of timm brings new families
def test_no_family_is_missing() -> None:
    files = {
        torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]
        for name in torchvision.models.list_models(module=torchvision.models)
    }
    assert sorted({family for source, family, _ in EVERY if source == "torchvision"}) == sorted(files)
    assert sorted({family for source, family, _ in EVERY if source == "timm"}) == sorted(timm.list_modules())
