use burn_tensor::{Device, Tensor, TensorData};
use injerto_graph::{ChannelOrder, Preprocessing};
use rayon::prelude::*;

/// Makes the input of a network, `[batch, 3, height, width]`, from RGB pixels `[batch, height, width, 3]` with values from 0 to 255,
/// scaled and normalised.
///
/// # Panics
/// If `pixels` does not hold `batch * height * width * 3` values.
pub fn to_input(pixels: &[f32], [batch, height, width]: [usize; 3], how: &Preprocessing, device: &Device) -> Tensor<4> {
    let plane = height * width;
    assert_eq!(pixels.len(), batch * plane * 3, "pixels do not fill [{batch}, {height}, {width}, 3]");
    // Each value takes one multiplication and one addition, in double precision to the end, so that `x / 127.5 - 1` is rounded
    // only once.
    let factor = |c: usize| how.scale / how.std[c];
    let shift = |c: usize| -how.mean[c] / how.std[c];
    let mut planes = vec![0_f32; pixels.len()];
    pixels.par_chunks_exact(plane * 3).zip(planes.par_chunks_exact_mut(plane * 3)).for_each(|(image, out)| {
        for (c, out) in out.chunks_exact_mut(plane).enumerate() {
            let source = match how.channel_order {
                ChannelOrder::Rgb => c,
                ChannelOrder::Bgr => 2 - c,
            };
            let (factor, shift) = (factor(c), shift(c));
            for (pixel, out) in image.chunks_exact(3).zip(out) {
                *out = (f64::from(pixel[source]) * factor + shift) as f32;
            }
        }
    });
    Tensor::from_data(TensorData::new(planes, [batch, 3, height, width]), device)
}
