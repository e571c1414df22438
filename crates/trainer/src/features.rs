use burn::tensor::Device;
use injerto_backbones::network::Value;

/// What crossed from the frozen prefix, once for each image, on the host.
///
/// Values are channels-last as [`Value::to_host`] gives them, one block of rows for each tensor that crosses.
#[derive(Debug)]
pub struct Features {
    /// For each tensor that crosses: its shape for one image, and all rows one after the other.
    blocks: Vec<(Vec<usize>, Vec<f32>)>,
    /// Row of each image of the dataset; `None` for one that could not be used.
    rows: Vec<Option<usize>>,
    labels: Vec<u32>,
}

impl Features {
    /// Room for the features of `images` images, where one image's tensors have these shapes.
    pub fn new(shapes: Vec<Vec<usize>>, images: usize) -> Self {
        let block = |shape: Vec<usize>| {
            let values = shape.iter().product::<usize>() * images;
            (shape, Vec::with_capacity(values))
        };
        Self { blocks: shapes.into_iter().map(block).collect(), rows: vec![None; images], labels: Vec::new() }
    }

    /// Bytes that the features of one image take.
    pub fn bytes_per_image(shapes: &[Vec<usize>]) -> usize {
        shapes.iter().map(|shape| shape.iter().product::<usize>() * size_of::<f32>()).sum()
    }

    /// Adds what crossed for a batch of images, given by their places in the dataset.
    pub fn push(&mut self, images: &[usize], labels: &[u32], crossing: &[Value]) {
        for (&image, &label) in images.iter().zip(labels) {
            self.rows[image] = Some(self.labels.len());
            self.labels.push(label);
        }
        for ((_, values), tensor) in self.blocks.iter_mut().zip(crossing) {
            values.extend(tensor.to_host());
        }
    }

    /// The images that have features, in the given order.
    pub fn usable(&self, order: &[usize]) -> Vec<usize> {
        order.iter().copied().filter(|&image| self.rows[image].is_some()).collect()
    }

    /// Features and labels of these images, all of which must be [usable](Self::usable).
    pub fn gather(&self, images: &[usize], device: &Device) -> (Vec<Value>, Vec<u32>) {
        let rows: Vec<usize> = images.iter().filter_map(|&image| self.rows[image]).collect();
        let tensor = |(shape, values): &(Vec<usize>, Vec<f32>)| {
            let width: usize = shape.iter().product();
            let picked = rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect();
            Value::from_host(picked, rows.len(), shape, device)
        };
        let labels = rows.iter().map(|&row| self.labels[row]).collect();
        (self.blocks.iter().map(tensor).collect(), labels)
    }
}
