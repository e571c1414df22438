//! A network of real size for the benchmarks that need one.

use injerto_graph::layers::{Conv2D, DepthwiseConv2D};
use injerto_graph::{Builder, Graph, LayerId, Operator};

/// The layers of MobileNetV2 1.0 without top, with the same shapes and names as in the plugin.
pub fn mobilenet_v2(size: usize) -> Graph {
    let mut net = Builder::new("mobilenet_v2");
    let input = net.input([size, size, 3]);
    let x = convolution(&mut net, "Conv1", 32, 3, 2, input);
    let x = normalised(&mut net, "bn_Conv1", Some("Conv1_relu"), x);
    let (mut x, mut channels, mut block) = (x, 32, 0);
    for (factor, filters, repeats, stride) in
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let prefix = if block == 0 { "expanded_conv_".to_owned() } else { format!("block_{block}_") };
            let name = |layer: &str| format!("{prefix}{layer}");
            let mut y = x;
            if block > 0 {
                y = convolution(&mut net, &name("expand"), factor * channels, 1, 1, y);
                y = normalised(&mut net, &name("expand_BN"), Some(&name("expand_relu")), y);
            }
            let depthwise = DepthwiseConv2D::new(3).strides(stride).same().use_bias(false);
            y = net.add(name("depthwise"), depthwise, &[y]);
            y = normalised(&mut net, &name("depthwise_BN"), Some(&name("depthwise_relu")), y);
            y = convolution(&mut net, &name("project"), filters, 1, 1, y);
            y = normalised(&mut net, &name("project_BN"), None, y);
            x = if repeat > 0 { net.add(name("add"), Operator::Add {}, &[x, y]) } else { y };
            channels = filters;
            block += 1;
        }
    }
    let x = convolution(&mut net, "Conv_1", 1280, 1, 1, x);
    normalised(&mut net, "Conv_1_bn", Some("out_relu"), x);
    net.finish().expect("holds together")
}

fn convolution(net: &mut Builder, name: &str, filters: usize, window: usize, stride: usize, x: LayerId) -> LayerId {
    let operator = Conv2D::new(filters, window).strides(stride).same().use_bias(false);
    net.add(name, operator, &[x])
}

fn normalised(net: &mut Builder, name: &str, relu: Option<&str>, x: LayerId) -> LayerId {
    let bn = Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.999, center: true, scale: true };
    let x = net.add(name, bn, &[x]);
    match relu {
        Some(relu) => net.add(relu, Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]),
        None => x,
    }
}
