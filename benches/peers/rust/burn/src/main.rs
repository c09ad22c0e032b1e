//! burn, eager, on flex, its backend for processors in plain Rust.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, activation};
use peer::{Flags, Result, Run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Its linear layers start as PyTorch's do.
#[derive(Module, Debug)]
struct Vae {
    encoder: Vec<Linear>,
    head: Linear,
    decoder: Vec<Linear>,
}

impl Vae {
    fn new(flags: &Flags, inputs: usize, device: &Device) -> Vae {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        let chain = |widths: &[usize]| widths.windows(2).map(|w| linear(w[0], w[1])).collect();
        let (down, up) = flags.widths(inputs);
        Vae { encoder: chain(&down), head: linear(down[down.len() - 1], 2 * flags.latent), decoder: chain(&up) }
    }
    /// The mean −ELBO of a batch, but for the likelihood's constant.
    fn loss(&self, x: Tensor<2>, bernoulli: bool) -> Tensor<1> {
        let rows = x.dims()[0];
        let mut h = x.clone();
        for layer in &self.encoder {
            h = activation::relu(layer.forward(h));
        }
        let halves = self.head.forward(h).chunk(2, 1);
        let (mean, log_variance) = (halves[0].clone(), halves[1].clone());
        let noise = mean.random_like(Distribution::Normal(0.0, 1.0)).detach();
        h = mean.clone() + noise * (log_variance.clone() * 0.5).exp();
        for (i, layer) in self.decoder.iter().enumerate() {
            h = layer.forward(h);
            h = if i + 1 < self.decoder.len() { activation::relu(h) } else { h };
        }
        let reconstruction = if bernoulli {
            (activation::relu(h.clone()) - x * h.clone() + (-h.abs()).exp().log1p()).sum()
        } else {
            (h - x).square().sum() * 0.5
        };
        let kl = (log_variance.clone() + 1.0 - mean.square() - log_variance.exp()).sum() * -0.5;
        (reconstruction + kl) / rows as f64
    }
}

fn main() -> Result<()> {
    let flags = Flags::parse()?;
    let device = Device::flex();
    device.seed(0);
    let (values, inputs) = flags.load()?;
    let number = values.len() / inputs;
    let rows = Tensor::<2>::from_data(TensorData::new(values, [number, inputs]), &device);
    // Taken and put back by each step, for the optimizer updates in place what nobody else holds.
    let mut held = Some(Vae::new(&flags, inputs, &device.clone().autodiff()));
    let mut optimizer = AdamConfig::new().with_epsilon(flags.epsilon as f32).init();
    Run::new("burn", "0.23.0-pre.1", &flags, number).report(number, |batch| {
        let index: Vec<i32> = batch.iter().map(|&row| row as i32).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [batch.len()]), &device);
        let x = Tensor::<2>::from_inner(rows.clone().select(0, index));
        let vae = held.take().ok_or("a step before this one failed")?;
        let loss = vae.loss(x, flags.bernoulli);
        let gradient = GradientsParams::from_grads(loss.backward(), &vae);
        let value = f64::from(loss.inner().into_scalar::<f32>());
        held = Some(optimizer.step(flags.learning_rate, vae, gradient));
        Ok(value + flags.constant(inputs))
    })
}
