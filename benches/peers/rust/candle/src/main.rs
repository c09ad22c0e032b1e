//! candle, eager: its AdamW without weight decay is Adam.

use candle_core::{D, DType, Device, Result as Candle, Tensor};
use candle_nn::{AdamW, Init, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use peer::{Flags, Result, Run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Vae {
    encoder: Vec<Linear>,
    head: Linear,
    decoder: Vec<Linear>,
    bernoulli: bool,
}

fn linear(inputs: usize, outputs: usize, vars: VarBuilder) -> Candle<Linear> {
    let bound = (inputs as f64).sqrt().recip();
    let uniform = Init::Uniform { lo: -bound, up: bound };
    let weight = vars.get_with_hints((outputs, inputs), "weight", uniform)?;
    Ok(Linear::new(weight, Some(vars.get_with_hints(outputs, "bias", uniform)?)))
}

impl Vae {
    fn new(flags: &Flags, inputs: usize, vars: VarBuilder) -> Candle<Vae> {
        let chain = |name: &str, widths: &[usize]| -> Candle<Vec<Linear>> {
            let layer = |(i, w): (usize, &[usize])| linear(w[0], w[1], vars.pp(format!("{name}.{i}")));
            widths.windows(2).enumerate().map(layer).collect()
        };
        let (down, up) = flags.widths(inputs);
        let head = linear(down[down.len() - 1], 2 * flags.latent, vars.pp("head"))?;
        Ok(Vae { encoder: chain("encoder", &down)?, head, decoder: chain("decoder", &up)?, bernoulli: flags.bernoulli })
    }
    /// The mean −ELBO of a batch, but for the likelihood's constant.
    fn loss(&self, x: &Tensor) -> Candle<Tensor> {
        let mut h = x.clone();
        for layer in &self.encoder {
            h = layer.forward(&h)?.relu()?;
        }
        let eta = self.head.forward(&h)?;
        let halves = eta.chunk(2, D::Minus1)?;
        let (mean, log_variance) = (&halves[0], &halves[1]);
        let deviation = (log_variance * 0.5)?.exp()?;
        h = (mean + (mean.randn_like(0.0, 1.0)?.detach() * deviation)?)?;
        for (i, layer) in self.decoder.iter().enumerate() {
            h = layer.forward(&h)?;
            h = if i + 1 < self.decoder.len() { h.relu()? } else { h };
        }
        let reconstruction = if self.bernoulli {
            let softplus = (h.relu()? + (h.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
            (softplus - (x * &h)?)?.sum_all()?
        } else {
            ((h - x)?.sqr()?.sum_all()? * 0.5)?
        };
        let kl = (((log_variance + 1.0)? - mean.sqr()?)? - log_variance.exp()?)?.sum_all()?;
        (reconstruction - (kl * 0.5)?)? / x.dim(0)? as f64
    }
}

fn main() -> Result<()> {
    let flags = Flags::parse()?;
    let device = Device::Cpu;
    let (values, inputs) = flags.load()?;
    let number = values.len() / inputs;
    let rows = Tensor::from_vec(values, (number, inputs), &device)?;
    let vars = VarMap::new();
    let vae = Vae::new(&flags, inputs, VarBuilder::from_varmap(&vars, DType::F32, &device))?;
    let adam = ParamsAdamW { lr: flags.learning_rate, eps: flags.epsilon, weight_decay: 0.0, ..Default::default() };
    let mut optimizer = AdamW::new(vars.all_vars(), adam)?;
    Run::new("candle", "0.11.1", &flags, number).report(number, |batch| {
        let loss = vae.loss(&rows.index_select(&Tensor::new(batch, &device)?, 0)?)?;
        optimizer.backward_step(&loss)?;
        Ok(f64::from(loss.to_scalar::<f32>()?) + flags.constant(inputs))
    })
}
