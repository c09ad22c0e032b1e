//! The constants of the elementary functions, one table per element type.

/// What [`math`](crate::math) needs to know about an element: polynomials (highest power first) and ranges.
pub trait Coefficients: Sized + 'static {
    /// The smallest normal number.
    const MIN_NORMAL: Self;
    /// The exponent's bias, 127 or 1023.
    const BIAS: Self;
    /// 2^m, m the mantissa's width: an integer or-ed into its low bits is added to it.
    const INTEGER: Self;
    /// 1.5·2^m + bias − 1: adding it rounds to an integer n and leaves n + bias − 1 in the low bits.
    const ROUNDER: Self;
    /// Below the first, [`exp`](crate::math::exp) is 0; above the second, infinite.
    const EXP_RANGE: [Self; 2];
    /// log 2 as a head with trailing zeros (so that n·head is exact for every exponent n) and the rest.
    const LN_2: [Self; 2];
    /// (eʳ − 1 − r) / r² for |r| ≤ ½ log 2; error of eʳ below 2^-28 or 2^-63. Minimax fit.
    const EXP: &'static [Self];
    /// (log((1+s)/(1−s)) − 2s) / s³ in s², |s| ≤ 0.1716; Sun's fdlibm, `e_log.c`, and FreeBSD's `e_logf.c`.
    const LOG: &'static [Self];
    /// The same function for 0 ≤ s ≤ ⅓; error of the logarithm below 2^-33 or 2^-64, relatively. Minimax fit.
    const LOG1P: &'static [Self];
    /// A power of two that makes subnormal numbers normal, and its exponent.
    const LIFT: [Self; 2];
    /// erf(x)/x − 1 in x², |x| ≤ 1; error of erf below 2^-29 or 2^-62. Minimax fit.
    const ERF: &'static [Self];
    /// −log(1 − erf(x)) in x, from 1 to [`ERF_END`](Self::ERF_END); error of erf below 2^-29 or 2^-59. Minimax fit.
    const ERF_TAIL: &'static [Self];
    /// From here on erf rounds to 1.
    const ERF_END: Self;
    /// (½ − Φ(−a) exp(a²/2)) / s in s = a / (3 + a); error of Φ(−a) below exp(−a²/4) 2^-28 or 2^-59. Minimax fit.
    const NORMAL_TAIL: &'static [Self];
}

impl Coefficients for f32 {
    const MIN_NORMAL: f32 = f32::MIN_POSITIVE;
    const BIAS: f32 = 127.0;
    const INTEGER: f32 = 8_388_608.0;
    const ROUNDER: f32 = 12_582_912.0 + 126.0;
    const EXP_RANGE: [f32; 2] = [-87.3, 89.0];
    const LN_2: [f32; 2] = [6.931_381e-1, 9.058_001e-6];
    const EXP: &'static [f32] = &[0.001_381_454_4, 0.008_368_745, 0.041_668_39, 0.166_665_21, 0.499_999_94];
    const LOG: &'static [f32] = &[0.242_790_79, 0.284_987_87, 0.400_009_72, 0.666_666_6];
    const LOG1P: &'static [f32] = &[0.242_892_2, 0.214_308_71, 0.286_165_8, 0.399_988_9, 0.666_666_75];
    const LIFT: [f32; 2] = [33_554_432.0, 25.0];
    const ERF: &'static [f32] =
        &[7.853_85e-5, -0.000_801_020_24, 0.005_188_330_5, -0.026_853_815, 0.112_835_854, -0.376_126_26, 0.128_379_17];
    const ERF_TAIL: &'static [f32] =
        &[-0.000_186_505_63, 0.002_948_943_5, -0.021_843_389, 0.103_118_27, 0.638_131_14, 1.127_097_7, 0.000_339_349_7];
    const ERF_END: f32 = 4.0;
    const NORMAL_TAIL: &'static [f32] =
        &[0.038_834, -0.092_200_82, -0.030_638_931, 0.151_930_29, 0.287_770_7, -1.053_199_4, 1.196_827_3];
}

impl Coefficients for f64 {
    const MIN_NORMAL: f64 = f64::MIN_POSITIVE;
    const BIAS: f64 = 1023.0;
    const INTEGER: f64 = 4_503_599_627_370_496.0;
    const ROUNDER: f64 = 6_755_399_441_055_744.0 + 1022.0;
    const EXP_RANGE: [f64; 2] = [-708.39, 710.0];
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    const EXP: &'static [f64] = &[
        2.082_652_339_050_555_6e-9,
        2.511_208_198_244_868e-8,
        2.755_758_249_685_743e-7,
        2.755_723_473_676_187e-6,
        2.480_158_692_544_099_3e-5,
        0.000_198_412_698_965_038_43,
        0.001_388_888_888_911_650_7,
        0.008_333_333_333_316_989,
        0.041_666_666_666_666_09,
        0.166_666_666_666_666_82,
        0.5,
    ];
    const LOG: &'static [f64] = &[
        1.479_819_860_511_658_6e-1,
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ];
    const LOG1P: &'static [f64] = &[
        0.164_590_242_157_415_44,
        0.069_994_839_579_659_56,
        0.109_711_928_416_238_25,
        0.117_161_540_822_467_23,
        0.133_367_871_583_267_35,
        0.153_844_530_284_402_6,
        0.181_818_231_617_592_28,
        0.222_222_221_264_262_53,
        0.285_714_285_724_972_8,
        0.399_999_999_999_940_6,
        0.666_666_666_666_666_7,
    ];
    const LIFT: [f64; 2] = [18_014_398_509_481_984.0, 54.0];
    const ERF: &'static [f64] = &[
        5.945_255_584_223_488e-11,
        -1.136_567_067_182_716e-9,
        1.465_788_353_091_965_3e-8,
        -1.635_002_619_207_727e-7,
        1.646_097_295_415_376_5e-6,
        -1.492_559_351_872_822_6e-5,
        0.000_120_553_310_375_511_08,
        -0.000_854_832_697_876_514_9,
        0.005_223_977_624_781_37,
        -0.026_866_170_645_072_96,
        0.112_837_916_709_548_58,
        -0.376_126_389_031_837_5,
        0.128_379_167_095_512_6,
    ];
    const ERF_TAIL: &'static [f64] = &[
        -1.052_664_539_609_639_8e-12,
        4.808_822_314_383_607e-11,
        -1.028_201_768_127_401_7e-9,
        1.365_697_284_372_891_2e-8,
        -1.259_589_806_533_620_7e-7,
        8.521_442_622_757_367e-7,
        -4.334_449_105_613_198e-6,
        1.654_121_470_480_378e-5,
        -4.511_684_031_285_246e-5,
        7.055_112_060_346_73e-5,
        4.448_039_287_637_207_5e-5,
        -0.000_640_667_301_304_817_6,
        0.001_768_409_948_263_531,
        -0.000_279_949_738_676_036_5,
        -0.019_078_531_019_637_65,
        0.102_747_445_010_082_16,
        0.636_628_420_278_361_4,
        1.128_377_344_389_907,
        1.780_663_981_095_122e-7,
    ];
    const ERF_END: f64 = 5.95;
    const NORMAL_TAIL: &'static [f64] = &[
        0.003_032_571_840_576_356_7,
        -0.016_163_047_301_409_713,
        0.035_668_560_877_502_45,
        -0.045_300_489_568_806_35,
        0.041_042_758_610_687_555,
        -0.026_670_144_742_092_394,
        0.009_802_632_395_756_327,
        -0.007_238_549_406_018_557,
        0.002_250_170_095_710_341,
        0.009_366_353_787_025_886,
        0.013_794_954_198_524_337,
        -0.006_097_809_679_638_717,
        -0.052_792_841_557_504_29,
        -0.047_425_095_968_384_29,
        0.155_768_412_855_349_43,
        0.287_307_364_798_675_3,
        -1.053_173_158_795_487_1,
        1.196_826_841_204_297,
    ];
}
