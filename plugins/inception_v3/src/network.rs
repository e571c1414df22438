use injerto_plugin_sdk::{
    Activation, AveragePooling2D, BatchNormalization, Builder, Conv2D, Graph, GraphError, LayerId, MaxPooling2D,
    Operator, Variant, classifier, numbered,
};

use crate::Parameters;

/// A convolution in the tables below: torchvision's name within its module, filters, `[height, width]`.
type Step = (&'static str, usize, [usize; 2]);

/// torchvision's module of each convolution; the n-th module is Keras's `conv2d_n`.
pub(crate) type Modules = Vec<String>;

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<(Graph, Modules), GraphError> {
    let mut net = Net::new(parameters.variant);
    let mut x = net.builder.image(parameters.input_shape);

    x = net.conv("Conv2d_1a_3x3", x, Conv2D::new(32, 3).strides(2));
    x = net.conv("Conv2d_2a_3x3", x, Conv2D::new(32, 3));
    x = net.conv("Conv2d_2b_3x3", x, Conv2D::new(64, 3).same());
    x = net.max_pool(x);
    x = net.conv("Conv2d_3b_1x1", x, Conv2D::new(80, 1));
    x = net.conv("Conv2d_4a_3x3", x, Conv2D::new(192, 3));
    x = net.max_pool(x);

    for (at, (module, pooled)) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)].into_iter().enumerate() {
        let branches: [&[Step]; 3] = [
            &[("branch1x1", 64, [1, 1])],
            &[("branch5x5_1", 48, [1, 1]), ("branch5x5_2", 64, [5, 5])],
            &[("branch3x3dbl_1", 64, [1, 1]), ("branch3x3dbl_2", 96, [3, 3]), ("branch3x3dbl_3", 96, [3, 3])],
        ];
        x = net.mixed(&format!("mixed{at}"), module, x, &branches, pooled);
    }
    let branches: [&[Step]; 2] = [
        &[("branch3x3", 384, [3, 3])],
        &[("branch3x3dbl_1", 64, [1, 1]), ("branch3x3dbl_2", 96, [3, 3]), ("branch3x3dbl_3", 96, [3, 3])],
    ];
    x = net.reduction("mixed3", "Mixed_6a", x, &branches);
    let modules = [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)];
    for (at, (module, c)) in modules.into_iter().enumerate() {
        let branches: [&[Step]; 3] = [
            &[("branch1x1", 192, [1, 1])],
            &[("branch7x7_1", c, [1, 1]), ("branch7x7_2", c, [1, 7]), ("branch7x7_3", 192, [7, 1])],
            &[
                ("branch7x7dbl_1", c, [1, 1]),
                ("branch7x7dbl_2", c, [7, 1]),
                ("branch7x7dbl_3", c, [1, 7]),
                ("branch7x7dbl_4", c, [7, 1]),
                ("branch7x7dbl_5", 192, [1, 7]),
            ],
        ];
        x = net.mixed(&format!("mixed{}", at + 4), module, x, &branches, 192);
    }
    let branches: [&[Step]; 2] = [
        &[("branch3x3_1", 192, [1, 1]), ("branch3x3_2", 320, [3, 3])],
        &[
            ("branch7x7x3_1", 192, [1, 1]),
            ("branch7x7x3_2", 192, [1, 7]),
            ("branch7x7x3_3", 192, [7, 1]),
            ("branch7x7x3_4", 192, [3, 3]),
        ],
    ];
    x = net.reduction("mixed8", "Mixed_7a", x, &branches);
    for (at, module) in ["Mixed_7b", "Mixed_7c"].into_iter().enumerate() {
        x = net.wide(at, module, x);
    }
    if parameters.include_top {
        net.builder.from(x);
        classifier(&mut net.builder, parameters.classes, parameters.classifier_activation);
    }
    Ok((net.builder.finish_in_keras_order()?, net.modules))
}

struct Net {
    builder: Builder,
    variant: Variant,
    modules: Modules,
    max_pools: usize,
    average_pools: usize,
}

impl Net {
    fn new(variant: Variant) -> Self {
        let builder = Builder::new("inception_v3");
        Self { builder, variant, modules: Vec::new(), max_pools: 0, average_pools: 0 }
    }

    /// A convolution with batch normalisation and ReLU, named with Keras's running number.
    fn conv(&mut self, module: &str, x: LayerId, conv: Conv2D) -> LayerId {
        let number = self.modules.len();
        self.modules.push(module.to_owned());
        // Here torchvision has the same epsilon as Keras.
        let norm = match self.variant {
            Variant::Keras => BatchNormalization::new().scale(false),
            Variant::Torch => BatchNormalization::new().momentum(0.9),
        };
        self.builder.from(x).then(numbered("conv2d", number), conv.use_bias(false));
        self.builder.then(numbered("batch_normalization", number), norm);
        self.builder.then(numbered("activation", number), Activation::Relu)
    }

    fn max_pool(&mut self, x: LayerId) -> LayerId {
        let name = numbered("max_pooling2d", self.max_pools);
        self.max_pools += 1;
        self.builder.from(x).then(name, MaxPooling2D::new(3).strides(2))
    }

    fn average_pool(&mut self, x: LayerId) -> LayerId {
        let pool = AveragePooling2D::new(3).strides(1).same().count_include_pad(self.variant == Variant::Torch);
        let name = numbered("average_pooling2d", self.average_pools);
        self.average_pools += 1;
        self.builder.from(x).then(name, pool)
    }

    /// Convolutions in a row, of which the last one has `stride`.
    fn branch(&mut self, module: &str, x: LayerId, steps: &[Step], stride: usize) -> LayerId {
        let last = steps.len() - 1;
        steps.iter().enumerate().fold(x, |x, (at, &(name, filters, kernel))| {
            let conv = Conv2D::new(filters, kernel);
            let conv = if at == last && stride > 1 { conv.strides(stride) } else { conv.same() };
            self.conv(&format!("{module}.{name}"), x, conv)
        })
    }

    /// The branch with pooling in the modules that keep the size.
    fn pooled(&mut self, module: &str, x: LayerId, filters: usize) -> LayerId {
        let pool = self.average_pool(x);
        self.conv(&format!("{module}.branch_pool"), pool, Conv2D::new(filters, 1).same())
    }

    /// A module with parallel branches and a branch with pooling.
    fn mixed(&mut self, name: &str, module: &str, x: LayerId, branches: &[&[Step]], pooled: usize) -> LayerId {
        let mut ends: Vec<LayerId> = branches.iter().map(|steps| self.branch(module, x, steps, 1)).collect();
        ends.push(self.pooled(module, x, pooled));
        self.builder.add(name, Operator::Concatenate {}, &ends)
    }

    /// Such a module that halves the size.
    fn reduction(&mut self, name: &str, module: &str, x: LayerId, branches: &[&[Step]]) -> LayerId {
        let mut ends: Vec<LayerId> = branches.iter().map(|steps| self.branch(module, x, steps, 2)).collect();
        ends.push(self.max_pool(x));
        self.builder.add(name, Operator::Concatenate {}, &ends)
    }

    /// The last modules, in which a row and a column in parallel replace a 3×3 convolution.
    fn wide(&mut self, at: usize, module: &str, x: LayerId) -> LayerId {
        let plain = self.branch(module, x, &[("branch1x1", 320, [1, 1])], 1);
        let once = self.branch(module, x, &[("branch3x3_1", 384, [1, 1])], 1);
        let once = self.fork(&format!("mixed9_{at}"), module, once, ["branch3x3_2a", "branch3x3_2b"]);
        let steps = [("branch3x3dbl_1", 448, [1, 1]), ("branch3x3dbl_2", 384, [3, 3])];
        let twice = self.branch(module, x, &steps, 1);
        let name = numbered("concatenate", at);
        let twice = self.fork(&name, module, twice, ["branch3x3dbl_3a", "branch3x3dbl_3b"]);
        let pooled = self.pooled(module, x, 192);
        self.builder.add(format!("mixed{}", 9 + at), Operator::Concatenate {}, &[plain, once, twice, pooled])
    }

    fn fork(&mut self, name: &str, module: &str, x: LayerId, [row, column]: [&str; 2]) -> LayerId {
        let row = self.conv(&format!("{module}.{row}"), x, Conv2D::new(384, [1, 3]).same());
        let column = self.conv(&format!("{module}.{column}"), x, Conv2D::new(384, [3, 1]).same());
        self.builder.add(name, Operator::Concatenate {}, &[row, column])
    }
}
