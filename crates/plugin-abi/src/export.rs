use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::host::Plugin;
use crate::table::{Sink, Status, Str, Table};

/// The functions to which the table of [`plugin_table!`](crate::plugin_table) delegates.
#[doc(hidden)]
pub struct Export;

impl Export {
    /// Runs `body` on the texts of a call and writes its result or its error. A panic does not leave this function.
    ///
    /// # Safety
    /// Texts and sinks must be those of the current call.
    pub unsafe fn run<const N: usize, T: AsRef<[u8]>>(
        texts: [Str; N],
        out: Sink,
        error: Sink,
        body: impl FnOnce([&str; N]) -> Result<T, String>,
    ) -> Status {
        let work = || {
            // SAFETY: the texts are those of the current call, so their bytes are readable until it ends.
            let texts = texts.map(|text| unsafe { text.as_str() });
            if texts.contains(&None) {
                return Err((Status::BAD_PARAMETERS, "an argument is not UTF-8".to_owned()));
            }
            body(texts.map(Option::unwrap_or_default)).map_err(|text| (Status::FAILED, text))
        };
        match guarded(work) {
            // SAFETY: the sinks are those of the current call.
            Ok(Ok(output)) => unsafe { out.put(output.as_ref()) },
            Ok(Err((status, text))) => {
                // SAFETY: the sink is that of the current call.
                unsafe { error.put(text.as_bytes()) };
                status
            }
            Err(text) => {
                // SAFETY: the sink is that of the current call.
                unsafe { error.put(text.as_bytes()) };
                Status::PANICKED
            }
        }
    }
}

/// Runs `body`, and turns a panic into an error with its message.
///
/// # Errors
/// The message of the panic.
#[doc(hidden)]
pub fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the plugin panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
    })
}

/// A plugin that is linked into a program: the table that [`plugin_table!`](crate::plugin_table) has written.
///
/// It answers through the same table as a library that was loaded, and defines no symbol, so a program may have any number of them.
#[derive(Clone, Copy)]
pub struct Linked(&'static Table);

impl Linked {
    /// # Safety
    /// The table keeps to the ABI: `check_table` accepts it, and its functions are what `injerto_plugin.h` says.
    #[doc(hidden)]
    pub const unsafe fn new(table: &'static Table) -> Self {
        Self(table)
    }

    /// The table.
    pub const fn table(self) -> &'static Table {
        self.0
    }

    /// The plugin, as a host asks it.
    pub fn plugin(self) -> Plugin {
        // SAFETY: whoever made this value vouches for the table, which is static.
        unsafe { Plugin::new(self.0) }.expect("a table that the macro writes is accepted")
    }
}

impl PartialEq for Linked {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Linked {}

impl std::fmt::Debug for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Linked").field(&self.plugin().name()).finish()
    }
}

/// Writes the table of a Rust plugin. The macro stands for a [`Linked`].
///
/// - `descriptors`: `fn() -> Result<String, String>` returns a JSON array of descriptors;
/// - `describe`: `fn(name: &str, parameters: &str) -> Result<String, String>` takes parameters and returns a description, both as JSON;
/// - `weights` (optional): `fn(id: &str) -> Result<impl AsRef<[u8]>, String>` returns a weight file that the library carries.
///
/// An `Err` becomes the error text of the call, and so does a panic.
///
/// ```
/// use injerto_plugin_abi::{Linked, plugin_table};
///
/// static PLUGIN: Linked = plugin_table! {
///     name: "empty",
///     version: "0.1.0",
///     descriptors: || Ok("[]".to_owned()),
///     describe: |name, _parameters| Err::<String, _>(format!("no backbone '{name}'")),
/// };
/// assert_eq!(PLUGIN.plugin().name(), "empty");
/// assert_eq!(PLUGIN.plugin().descriptors(1 << 20).unwrap(), b"[]");
/// ```
#[macro_export]
macro_rules! plugin_table {
    (
        name: $name:expr,
        version: $version:expr,
        descriptors: $descriptors:expr,
        describe: $describe:expr
        $(, weights: $weights:expr)?
        $(,)?
    ) => {{
        unsafe extern "C" fn injerto_descriptors(out: $crate::Sink, error: $crate::Sink) -> $crate::Status {
            // SAFETY: these are the sinks of this call.
            unsafe { $crate::Export::run([], out, error, |[]: [&str; 0]| ($descriptors)()) }
        }
        unsafe extern "C" fn injerto_describe(
            name: $crate::Str,
            parameters: $crate::Str,
            out: $crate::Sink,
            error: $crate::Sink,
        ) -> $crate::Status {
            // SAFETY: these are the texts and the sinks of this call.
            unsafe {
                $crate::Export::run([name, parameters], out, error, |[name, parameters]: [&str; 2]| {
                    ($describe)(name, parameters)
                })
            }
        }
        #[allow(unused_mut, unused_assignments)]
        static TABLE: $crate::Table = {
            let mut extension: Option<$crate::ExtensionFn> = None;
            $(
                unsafe extern "C" fn injerto_read(
                    id: $crate::Str,
                    out: $crate::Sink,
                    error: $crate::Sink,
                ) -> $crate::Status {
                    // SAFETY: these are the text and the sinks of this call.
                    unsafe { $crate::Export::run([id], out, error, |[id]: [&str; 1]| ($weights)(id)) }
                }
                static WEIGHTS: $crate::WeightsExtension = $crate::WeightsExtension {
                    size: ::core::mem::size_of::<$crate::WeightsExtension>(),
                    read: Some(injerto_read),
                };
                unsafe extern "C" fn injerto_extension(id: $crate::Str) -> *const ::core::ffi::c_void {
                    // SAFETY: this is the text of this call.
                    match unsafe { id.as_str() } {
                        Some($crate::WEIGHTS_EXTENSION) => (&raw const WEIGHTS).cast(),
                        _ => ::core::ptr::null(),
                    }
                }
                extension = Some(injerto_extension);
            )?
            $crate::Table {
                magic: $crate::MAGIC,
                // The last field ends where the struct ends; see the golden offsets.
                size: ::core::mem::size_of::<$crate::Table>(),
                abi_major: $crate::ABI_MAJOR,
                abi_minor: $crate::ABI_MINOR,
                name: $crate::Str::new($name),
                version: $crate::Str::new($version),
                descriptors: Some(injerto_descriptors),
                describe: Some(injerto_describe),
                score: None,
                extension,
            }
        };
        // SAFETY: the functions above keep to the ABI, and the table is complete.
        unsafe { $crate::Linked::new(&TABLE) }
    }};
}

/// Exports a plugin that is written as [`plugin_table!`](crate::plugin_table) from a library: defines the entry symbol, which a library
/// has once.
///
/// ```
/// # use injerto_plugin_abi::{Linked, plugin_table};
/// # static PLUGIN: Linked = plugin_table! {
/// #     name: "empty",
/// #     version: "0.1.0",
/// #     descriptors: || Ok("[]".to_owned()),
/// #     describe: |name, _parameters| Err::<String, _>(format!("no backbone '{name}'")),
/// # };
/// injerto_plugin_abi::export_table!(PLUGIN);
/// # fn main() {
/// // SAFETY: it is the entry symbol of this program.
/// let plugin = unsafe { injerto_plugin_abi::Plugin::new(injerto_plugin_entry()) }.unwrap();
/// assert_eq!(plugin.name(), "empty");
/// # }
/// ```
#[macro_export]
macro_rules! export_table {
    ($plugin:expr) => {
        /// The table of this plugin; see `injerto_plugin.h`.
        #[unsafe(no_mangle)]
        pub extern "C" fn injerto_plugin_entry() -> *const $crate::Table {
            ::core::ptr::from_ref($plugin.table())
        }
    };
}

/// Exports a Rust plugin: writes its table, as [`plugin_table!`](crate::plugin_table) does, and defines the entry symbol.
///
/// ```
/// injerto_plugin_abi::export_plugin! {
///     name: "empty",
///     version: "0.1.0",
///     descriptors: || Ok("[]".to_owned()),
///     describe: |name, _parameters| Err::<String, _>(format!("no backbone '{name}'")),
/// }
/// # fn main() {
/// // SAFETY: it is the entry symbol of this program.
/// let table = unsafe { injerto_plugin_abi::check_table(injerto_plugin_entry()) }.unwrap();
/// assert_eq!(unsafe { table.name.as_str() }, Some("empty"));
/// # }
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($($answers:tt)*) => {
        $crate::export_table!({
            static PLUGIN: $crate::Linked = $crate::plugin_table! { $($answers)* };
            PLUGIN
        });
    };
}
