//! Loops compiled for the machine's vector unit: [`vectorised`](crate::vectorised).

use std::sync::OnceLock;

/// The vector units that [`vectorised`](crate::vectorised) compiles for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorUnit {
    /// AVX-512 as on all processors since Skylake-X: sixteen `f32` at once.
    Avx512,
    /// AVX2 with fused multiply-add: eight `f32` at once.
    Avx2,
    /// What every processor of the target has.
    Portable,
}

impl VectorUnit {
    /// The widest one of this machine.
    #[inline]
    pub fn widest() -> Self {
        static WIDEST: OnceLock<VectorUnit> = OnceLock::new();
        *WIDEST.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let has = |v4: bool| {
                    is_x86_feature_detected!("avx2")
                        && is_x86_feature_detected!("fma")
                        && (!v4
                            || is_x86_feature_detected!("avx512f")
                                && is_x86_feature_detected!("avx512bw")
                                && is_x86_feature_detected!("avx512cd")
                                && is_x86_feature_detected!("avx512dq")
                                && is_x86_feature_detected!("avx512vl"))
                };
                if has(true) {
                    return Self::Avx512;
                } else if has(false) {
                    return Self::Avx2;
                }
            }
            Self::Portable
        })
    }
}

/// Defines functions whose loops are compiled once for each [`VectorUnit`]; a call runs the widest one.
///
/// The body may call what is `#[inline(always)]`, or small, and other plain loops over slices. A closure handed to
/// a dispatcher would be shorter to write, but one that the compiler declines to inline is compiled for the
/// smallest unit, where each `mul_add` is a call of the C library: 75 % of a plan's time, once.
///
/// ```
/// rl_core::vectorised! {
///     /// xᵢ ← xᵢ² + 1.
///     fn square_plus_one(x: &mut [f32]) {
///         x.iter_mut().for_each(|x| *x = x.mul_add(*x, 1.0));
///     }
/// }
/// let mut x = [0.0, 3.0];
/// square_plus_one(&mut x);
/// assert_eq!(x, [1.0, 10.0]);
/// ```
#[macro_export]
macro_rules! vectorised {
    ($($(#[$attribute:meta])* $vis:vis fn $name:ident $(<$R:ident: $bound:path>)? (
        $($arg:ident: $type:ty),* $(,)?
    ) $(-> $output:ty)? $body:block)*) => {$(
        $(#[$attribute])*
        #[allow(unsafe_code)]
        #[allow(clippy::allow_attributes, clippy::too_many_arguments)]
        $vis fn $name $(<$R: $bound>)? ($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn portable $(<$R: $bound>)? ($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
                fn avx512 $(<$R: $bound>)? ($($arg: $type),*) $(-> $output)? {
                    portable($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$R: $bound>)? ($($arg: $type),*) $(-> $output)? {
                    portable($($arg),*)
                }
                match $crate::vector_unit::VectorUnit::widest() {
                    // SAFETY: this machine was found to have the unit.
                    $crate::vector_unit::VectorUnit::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: likewise.
                    $crate::vector_unit::VectorUnit::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::vector_unit::VectorUnit::Portable => {}
                }
            }
            portable($($arg),*)
        }
    )*};
}
