"""SPAKE2+ over P-256 with SHA-256.

Source: draft-bar-cfrg-spake2plus-01, appendix "Test Vectors"; the context of each row
is "SPAKE2+-P256-SHA256-HKDF draft-01". All values but the identities are hex.
"""

from typing import NamedTuple


class Spake2pVector(NamedTuple):
    prover: bytes
    verifier: bytes
    w0: str
    w1: str
    point_l: str
    x: str
    p_a: str
    y: str
    p_b: str
    k_e: str
    c_a: str
    c_b: str


CONTEXT = b"SPAKE2+-P256-SHA256-HKDF draft-01"

SPAKE2P = [
    Spake2pVector(
        prover=b"client",
        verifier=b"server",
        w0="e6887cf9bdfb7579c69bf47928a84514b5e355ac034863f7ffaf4390e67d798c",
        w1="24b5ae4abda868ec9336ffc3b78ee31c5755bef1759227ef5372ca139b94e512",
        point_l=(
            "0495645cfb74df6e58f9748bb83a86620bab7c82e107f57d6870da8cbcb2ff9f7063a14b6402c62f"
            "99afcb9706a4d1a143273259fe76f1c605a3639745a92154b9"
        ),
        x="8b0f3f383905cf3a3bb955ef8fb62e24849dd349a05ca79aafb18041d30cbdb6",
        p_a=(
            "04af09987a593d3bac8694b123839422c3cc87e37d6b41c1d630f000dd64980e537ae704bcede04e"
            "a3bec9b7475b32fa2ca3b684be14d11645e38ea6609eb39e7e"
        ),
        y="2e0895b0e763d6d5a9564433e64ac3cac74ff897f6c3445247ba1bab40082a91",
        p_b=(
            "04417592620aebf9fd203616bbb9f121b730c258b286f890c5f19fea833a9c900cbe9057bc549a3e"
            "19975be9927f0e7614f08d1f0a108eede5fd7eb5624584a4f4"
        ),
        k_e="801db297654816eb4f02868129b9dc89",
        c_a="d4376f2da9c72226dd151b77c2919071155fc22a2068d90b5faa6c78c11e77dd",
        c_b="0660a680663e8c5695956fb22dff298b1d07a526cf3cc591adfecd1f6ef6e02e",
    ),
    Spake2pVector(
        prover=b"client",
        verifier=b"",
        w0="e6887cf9bdfb7579c69bf47928a84514b5e355ac034863f7ffaf4390e67d798c",
        w1="24b5ae4abda868ec9336ffc3b78ee31c5755bef1759227ef5372ca139b94e512",
        point_l=(
            "0495645cfb74df6e58f9748bb83a86620bab7c82e107f57d6870da8cbcb2ff9f7063a14b6402c62f"
            "99afcb9706a4d1a143273259fe76f1c605a3639745a92154b9"
        ),
        x="ec82d9258337f61239c9cd68e8e532a3a6b83d12d2b1ca5d543f44def17dfb8d",
        p_a=(
            "04230779960824076d3666a7418e4d433e2fa15b06176eabdd572f43a32ecc79a192b243d2624310"
            "a7356273b86e5fd9bd627d3ade762baeff1a320d4ad7a4e47f"
        ),
        y="eac3f7de4b198d5fe25c443c0cd4963807add767815dd02a6f0133b4bc2c9eb0",
        p_b=(
            "044558642e71b616b248c9583bd6d7aa1b3952c6df6a9f7492a06035ca5d92522d84443de7aa20a5"
            "9380fa4de6b7438d925dbfb7f1cfe60d79acf961ee33988c7d"
        ),
        k_e="6989d8f9177ef7df67da437987f07255",
        c_a="e1b9258807ba4750dae1d7f3c3c294f13dc4fa60cde346d5de7d200e2f8fd3fc",
        c_b="b9c39dfa49c47757de778d9bedeaca2448b905be19a43b94ee24b770208135e3",
    ),
    Spake2pVector(
        prover=b"",
        verifier=b"server",
        w0="e6887cf9bdfb7579c69bf47928a84514b5e355ac034863f7ffaf4390e67d798c",
        w1="24b5ae4abda868ec9336ffc3b78ee31c5755bef1759227ef5372ca139b94e512",
        point_l=(
            "0495645cfb74df6e58f9748bb83a86620bab7c82e107f57d6870da8cbcb2ff9f7063a14b6402c62f"
            "99afcb9706a4d1a143273259fe76f1c605a3639745a92154b9"
        ),
        x="ba0f0f5b78ef23fd07868e46aeca63b51fda519a3420501acbe23d53c2918748",
        p_a=(
            "04c14d28f4370fea20745106cea58bcfb60f2949fa4e131b9aff5ea13fd5aa79d507ae1d229e447e"
            "000f15eb78a9a32c2b88652e3411642043c1b2b7992cf2d4de"
        ),
        y="39397fbe6db47e9fbd1a263d79f5d0aaa44df26ce755f78e092644b434533a42",
        p_b=(
            "04d1bee3120fd87e86fe189cb952dc688823080e62524dd2c08dffe3d22a0a8986aa64c9fe019103"
            "3cafbc9bcaefc8e2ba8ba860cd127af9efdd7f1c3a41920fe8"
        ),
        k_e="2ea40e4badfa5452b5744dc5983e99ba",
        c_a="e564c93b3015efb946dc16d642bbe7d1c8da5be164ed9fc3bae4e0ff86e1bd3c",
        c_b="072a94d9a54edc201d8891534c2317cadf3ea3792827f479e873f93e90f21552",
    ),
    Spake2pVector(
        prover=b"",
        verifier=b"",
        w0="e6887cf9bdfb7579c69bf47928a84514b5e355ac034863f7ffaf4390e67d798c",
        w1="24b5ae4abda868ec9336ffc3b78ee31c5755bef1759227ef5372ca139b94e512",
        point_l=(
            "0495645cfb74df6e58f9748bb83a86620bab7c82e107f57d6870da8cbcb2ff9f7063a14b6402c62f"
            "99afcb9706a4d1a143273259fe76f1c605a3639745a92154b9"
        ),
        x="5b478619804f4938d361fbba3a20648725222f0a54cc4c876139efe7d9a21786",
        p_a=(
            "04a6db23d001723fb01fcfc9d08746c3c2a0a3feff8635d29cad2853e7358623425cf39712e92805"
            "4561ba71e2dc11f300f1760e71eb177021a8f85e78689071cd"
        ),
        y="766770dad8c8eecba936823c0aed044b8c3c4f7655e8beec44a15dcbcaf78e5e",
        p_b=(
            "04390d29bf185c3abf99f150ae7c13388c82b6be0c07b1b8d90d26853e84374bbdc82becdb978ca3"
            "792f472424106a2578012752c11938fcf60a41df75ff7cf947"
        ),
        k_e="ea3276d68334576097e04b19ee5a3a8b",
        c_a="71d9412779b6c45a2c615c9df3f1fd93dc0aaf63104da8ece4aa1b5a3a415fea",
        c_b="095dc0400355cc233fde7437811815b3c1524aae80fd4e6810cf531cf11d20e3",
    ),
]

# Passcode 20202021, salt "SPAKE2P Key Salt", 1000 iterations -> w0 || L.
# Source: the Matter SDK's PASE session test.
PASSCODE_VERIFIER = (
    "b96170aae803346884724fe9a3b287c30330c2a660375d17bb205a8cf1aecb350457f8ab79ee253a"
    "b6a8e46bb09e543ae422736de501e3db37d441fe344920d09548e4c18240630c4ff4913c53513839"
    "b7c07fcc0627a1b8573a149fcd1fa466cf"
)
