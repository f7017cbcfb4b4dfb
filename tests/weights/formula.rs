//! Weights by formula against the check values of golden/README.md and of the formula's numpy definition, bit for bit.

use serde_json::json;
use std::path::Path;
use viseme::weights::Weights;
use viseme::weights::formula::FormulaSource;

fn values(config: serde_json::Value, name: &str, shape: &[usize]) -> Vec<f32> {
    let source = FormulaSource::from_config(&config, &[]).expect("a formula");
    Weights::from_source(source).get(name, shape).and_then(|t| t.to_f32()).expect(name)
}

#[test]
fn check_values_are_equal_bit_for_bit() {
    let out = "model.diffusion_model.out.2.weight";
    let ff = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight";
    let group_norm = "model.diffusion_model.out.0.weight";
    let bias = "model.diffusion_model.out.2.bias";
    let gain = "encoder.pos_conv_embed.conv.weight_g";
    type Case<'a> = (&'a str, &'a [usize], &'a str, u64, [u32; 2], u64);
    let cases: [Case; 6] = [
        (out, &[4, 320, 3, 3], "f32", 41, [0xBCC3_9044, 0x3C0C_1FC4], 0x03DB_BD98_0EF4_6D81),
        (out, &[4, 320, 3, 3], "f16", 41, [0xBCC3_A000, 0x3C0C_2000], 0x03DB_BD98_B4CF_A000),
        (group_norm, &[320], "f32", 41, [0x3F78_4CD7, 0x3F78_555F], 0x0000_6332_0833_482D),
        (bias, &[4], "f32", 41, [0x3D47_1705, 0x3AE7_6933], 0x0000_0006_476F_3987),
        (ff, &[2560, 320], "f16", 41, [0x3DAA_4000, 0x3D2C_A000], 0x6242_8F4F_9E64_4000),
        (gain, &[1, 1, 128], "f32", 44, [0x4039_8CE7, 0x403D_F79C], 0x0000_1007_7F4A_0E7E),
    ];
    for (name, shape, dtype, seed, first, sum) in cases {
        let bits: Vec<u32> = values(
            json!({"formula": 1, "seed": seed, "dtype": dtype, "gain": 1.0, "tensors": {name: shape}}),
            name,
            shape,
        )
        .iter()
        .map(|value| value.to_bits())
        .collect();
        assert_eq!(bits[..2], first, "{name} {dtype}");
        let weighted = bits.iter().enumerate().map(|(i, &bits)| u64::from(bits).wrapping_mul(2 * i as u64 + 1));
        assert_eq!(weighted.fold(0, u64::wrapping_add), sum, "{name} {dtype}");
    }
}

/// One tensor per line of the table; expected values from formula.py: first, last, sum of bits * (2i + 1).
#[test]
fn every_line_of_the_table_matches_the_definition() {
    type Case<'a> = (&'a str, &'a [usize], [u32; 2], u64);
    let cases: &[Case] = &LINES;
    for &(name, shape, ends, sum) in cases {
        let config = json!({"formula": 1, "seed": 7, "dtype": "f32", "gain": 0.7, "tensors": {name: shape}});
        let bits: Vec<u32> = values(config, name, shape).iter().map(|value| value.to_bits()).collect();
        assert_eq!([bits[0], bits[bits.len() - 1]], ends, "{name}");
        let weighted = bits.iter().enumerate().map(|(i, &bits)| u64::from(bits).wrapping_mul(2 * i as u64 + 1));
        assert_eq!(weighted.fold(0, u64::wrapping_add), sum, "{name}");
    }
}

#[test]
fn tied_and_overridden_tensors_and_lists_in_files() {
    let tied = json!({"formula": 1, "seed": 3, "tensors": {"a.weight": [2, 3], "b.num_batches_tracked": []},
        "tied": {"c.d": "a.weight"}, "shape_overrides": {"e": [5]}});
    assert_eq!(values(tied.clone(), "a.weight", &[2, 3]), values(tied.clone(), "c.d", &[2, 3]));
    let source = FormulaSource::from_config(&tied, &[]).expect("a formula");
    assert_eq!(Weights::from_source(source).names(), ["a.weight", "c.d", "e"]);

    let folder = crate::folder();
    crate::write(&folder, "names.json", r#"{"net": {"model.a": [2], "model.b": [3], "vae.c": [4]}}"#);
    let listed = json!({"formula": 1, "seed": 3, "tensors_file": "names.json", "tensors_key": "net",
        "tensors_prefix": "model.", "shape_overrides": {"model.b": [1]}});
    let other = Path::new("no such folder");
    let source = FormulaSource::from_config(&listed, &[other, folder.path()]).expect("a formula");
    let w = Weights::from_source(source);
    assert_eq!((w.names(), w.shape("model.b")), (vec!["model.a".to_owned(), "model.b".to_owned()], Some(vec![1])));

    for (config, message) in [
        (json!({"formula": 2}), "config.weights.formula: expected 1, found 2"),
        (json!({"formula": 1, "seed": -1}), "config.weights.seed"),
        (json!({"formula": 1, "seed": 1, "dtype": "f64"}), "config.weights.dtype"),
        (json!({"formula": 1, "seed": 1, "gain": "big"}), "config.weights.gain"),
        (json!({"formula": 1, "seed": 1}), "config.weights.tensors: expected names and their shapes, found null"),
        (json!({"formula": 1, "seed": 1, "tensors": {"a": [-1]}}), "a shape for a, found [-1]"),
        (json!({"formula": 1, "seed": 1, "tensors": {"a": [1u64 << 60, 1u64 << 60]}}), "a shape for a"),
        (json!({"formula": 1, "seed": 1, "tensors": {}, "tied": {"a": "b"}}), "found \"b\""),
        (json!({"formula": 1, "seed": 1, "tensors_file": "x.json"}), "x.json: expected in"),
        (json!({"formula": 1, "seed": 1, "tensors_file": "../x.json"}), "a name without a folder"),
    ] {
        let error = FormulaSource::from_config(&config, &[folder.path()]).err().expect(message).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[rustfmt::skip]
const LINES: [(&str, &[usize], [u32; 2], u64); 20] = [
    ("x.mix_factor", &[1], [0xBEF4_B33C, 0xBEF4_B33C], 0x0000_0000_BEF4_B33C),
    ("bn.running_mean", &[5], [0x3CCF_6BAD, 0xBD3A_BBE7], 0x0000_000B_F1F4_41D2),
    ("bn.running_var", &[5], [0x3F6B_78F8, 0x3F88_222B], 0x0000_0006_3405_1489),
    ("conv.weight_g", &[1, 1, 7], [0x4038_8663, 0x4024_D719], 0x0000_000C_45D2_8FC6),
    ("layer.0.grep_a", &[1, 4, 1, 1], [0x3F65_57F2, 0x3FB9_BF82], 0x0000_0003_FA1D_F060),
    ("norm.scale", &[3], [0x3F2D_1265, 0x3F0A_B226], 0x0000_0002_379C_B2B7),
    ("layer.gamma", &[3], [0x3F0B_2602, 0x3EDF_D75A], 0x0000_0002_36EE_F3E8),
    ("pos_embed.weight", &[4, 3], [0x3CD0_4EC0, 0x3F62_E6A6], 0x0000_0034_0332_A47A),
    ("object_token.weight", &[1, 3], [0xBF5F_7166, 0x3F7C_9938], 0x0000_0002_B689_748E),
    ("mask_tokens.weight", &[4, 3], [0x3EF1_8B34, 0xBE95_4EE4], 0x0000_004F_800A_C35E),
    ("a.relative_attention_bias.weight", &[4, 3], [0x3F34_9510, 0xBD6B_4B80], 0x0000_004B_3992_CDB2),
    ("learned_mask", &[4, 3, 2], [0x3F60_3682, 0x3EF4_5850], 0x0000_00F9_262F_3434),
    ("conv.weight", &[5, 3, 3, 1], [0x3E74_F2A3, 0xBCE5_5F91], 0x0000_03E4_3346_C940),
    ("conv.weight_v", &[4, 2, 5], [0x3E98_C2D0, 0x3E76_76C8], 0x0000_02DE_38CA_1424),
    ("conv3_3_norm.weight", &[6], [0x40FD_883F, 0x40F2_8636], 0x0000_0009_2407_8716),
    ("norm.weight", &[6], [0x3F7F_6C55, 0x3F80_77C4], 0x0000_0008_EE1A_0767),
    ("norm.bias", &[6], [0xBCCD_5D0D, 0xBC98_9DD0], 0x0000_001A_7F40_1FBC),
    ("scalar", &[], [0xBCF2_E7C0, 0xBCF2_E7C0], 0x0000_0000_BCF2_E7C0),
    ("large.weight", &[401, 1031], [0xBCC4_EC3F, 0x3CE9_1402], 0x55E7_A36E_19FF_9BA2),
    ("embed.weight", &[9], [0x3F8B_2020, 0x3F66_93ED], 0x0000_0014_13C9_183A),
];

/// A whole published network by formula, as golden 41 asks for it; said with its time, since every check at full size
/// waits for it.
#[test]
#[ignore = "1.5 billion values: 8 s on two busy cores"]
fn the_full_size_network_is_made_in_seconds() {
    let Some(path) = crate::published("41_full_unet_keyframe.safetensors") else { return };
    let w = viseme::verify::golden::Golden::open(&path).and_then(|golden| golden.weights()).expect("weights");
    let start = std::time::Instant::now();
    let mut elements = 0;
    for name in w.names() {
        elements += w.get(&name, &w.shape(&name).unwrap_or_default()).expect("made").len();
    }
    println!("{elements} values in {:.2?}", start.elapsed());
    assert_eq!(elements, 1_524_950_762);
}
