//! One answer per image, in the order of the images, which are decoded ahead of use.

use std::vec;

use injerto_data::{Batches, Decoded};

use crate::ExperimentError;

/// An answer for an image, or why there is none.
pub(crate) type Answer<T> = Result<T, ExperimentError>;

/// Answers for a stream of images, which come batch by batch and leave one by one.
#[derive(Debug)]
pub(crate) struct OneEach<T> {
    decoded: Option<Batches<Decoded>>,
    ready: vec::IntoIter<Answer<T>>,
}

impl<T> OneEach<T> {
    pub(crate) fn new(decoded: Batches<Decoded>) -> Self {
        Self { decoded: Some(decoded), ready: Vec::new().into_iter() }
    }

    /// The answer for the next image. `answer` gives those for the pixels `[images, height, width, 3]` of so many images, in their order.
    ///
    /// An image that cannot be read gives an error in its place, the inner one. An outer error, which is one of `answer` or of the stream,
    /// is the last answer.
    pub(crate) fn next(
        &mut self,
        answer: impl Fn(&[f32], usize) -> Result<Vec<Answer<T>>, ExperimentError>,
    ) -> Option<Result<Answer<T>, ExperimentError>> {
        loop {
            if let Some(ready) = self.ready.next() {
                return Some(Ok(ready));
            }
            let decoded = self.decoded.as_mut()?.next()?.map_err(ExperimentError::from);
            let answered = decoded.and_then(|Decoded { pixels, images }| {
                let readable = images.iter().filter(|image| image.is_ok()).count();
                let mut found = answer(&pixels, readable)?.into_iter();
                let of = |image: Result<(), _>| {
                    image?;
                    found.next().expect("there is an answer for each image that was read")
                };
                Ok(images.into_iter().map(of).collect::<Vec<Answer<T>>>())
            });
            match answered {
                Ok(answers) => self.ready = answers.into_iter(),
                Err(error) => {
                    self.decoded = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
