//! The economy of DICE-2016R: what grows by itself, output, abatement and damages. Numbers are those of the published model code.

use super::physics::YEARS;

/// Capital's share γ, depreciation δ per year.
const CAPITAL_SHARE: f64 = 0.3;
const DEPRECIATION: f64 = 0.1;
/// Elasticity of marginal utility, pure time preference per year.
const ELASTICITY: f64 = 1.45;
const IMPATIENCE: f64 = 0.015;
/// Exponent of the abatement cost.
const ABATEMENT_EXPONENT: f64 = 2.6;
/// Damages per °C².
pub(super) const DAMAGE: f64 = 0.00236;
/// Capital in 2015 in trillion 2010 $.
pub(super) const FIRST_CAPITAL: f64 = 223.0;
/// Control rate in 2015.
pub(super) const FIRST_RATE: f64 = 0.03;

/// What grows by itself, in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exogenous {
    /// Population in millions.
    pub people: f64,
    /// Total factor productivity.
    pub productivity: f64,
    /// kg CO₂ per $ of output.
    pub intensity: f64,
    /// Price of the backstop in $ per t CO₂.
    pub backstop: f64,
    /// Emissions from land in Gt CO₂ per year.
    pub land: f64,
    /// Forcing of other gases in W/m².
    pub other_forcing: f64,
    /// (1 + ρ)^(−years since 2015).
    pub discount: f64,
}

/// Steps 0 (2015) to `steps`.
pub(super) fn exogenous(steps: usize) -> Vec<Exogenous> {
    let first_intensity = 35.85 / (105.5 * (1.0 - FIRST_RATE));
    let (mut people, mut productivity, mut intensity) = (7403.0f64, 5.115f64, first_intensity);
    let mut decarbonisation: f64 = -0.0152;
    (0..=steps)
        .map(|t| {
            let k = t as f64;
            let now = Exogenous {
                people,
                productivity,
                intensity,
                backstop: 550.0 * 0.975f64.powf(k),
                land: 2.6 * 0.885f64.powf(k),
                other_forcing: 0.5 + 0.5 * (k / 17.0).min(1.0),
                discount: (1.0 + IMPATIENCE).powf(-YEARS * k),
            };
            people *= (11500.0 / people).powf(0.134);
            productivity /= 1.0 - 0.076 * (-0.005 * YEARS * k).exp();
            intensity *= (decarbonisation * YEARS).exp();
            decarbonisation *= (1.0f64 - 0.001).powf(YEARS);
            now
        })
        .collect()
}

/// The savings rate of the model's long run: (δ + 0.004) / (δ + 0.004 η + ρ) γ, kept throughout.
pub(super) fn savings_rate() -> f64 {
    (DEPRECIATION + 0.004) / (DEPRECIATION + 0.004 * ELASTICITY + IMPATIENCE) * CAPITAL_SHARE
}

/// A region's place in the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Share of the world's people.
    pub people: f64,
    /// Share of the world's output and capital in 2015.
    pub output: f64,
    /// Damages relative to the world's.
    pub damage: f64,
}

/// What a region makes of a year of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Year {
    /// Industrial emissions in Gt CO₂.
    pub emissions: f64,
    /// Gross output in trillion $.
    pub gross: f64,
    /// Damages in trillion $.
    pub damages: f64,
    /// Cost of abatement in trillion $.
    pub abatement: f64,
    /// Consumption in trillion $.
    pub consumption: f64,
    /// Investment in trillion $.
    pub investment: f64,
}

impl Place {
    /// Y = A L^(1−γ) K^γ, E = σ Y (1 − μ), damages a₂ T² Y, abatement θ₁ μ^2.6 Y with θ₁ = p_back σ / 2600.
    pub fn year(&self, now: &Exogenous, capital: f64, warming: f64, rate: f64) -> Year {
        // A region's productivity makes its share of output in 2015.
        let people = self.people * now.people;
        let productivity = now.productivity * (self.output / self.people).powf(1.0 - CAPITAL_SHARE);
        let gross = productivity * (people / 1000.0).powf(1.0 - CAPITAL_SHARE) * capital.powf(CAPITAL_SHARE);
        let damages = gross * (DAMAGE * self.damage * warming * warming).min(0.9);
        let unit = now.backstop * now.intensity / ABATEMENT_EXPONENT / 1000.0;
        let abatement = gross * unit * rate.powf(ABATEMENT_EXPONENT);
        let net = (gross - damages - abatement).max(1e-3 * gross);
        Year {
            emissions: now.intensity * gross * (1.0 - rate),
            gross,
            damages,
            abatement,
            consumption: (1.0 - savings_rate()) * net,
            investment: savings_rate() * net,
        }
    }

    /// Utility of a step: 5 L ((c^(1−η) − 1) / (1 − η)) discounted, c in 1000 $ per head and year.
    pub fn utility(&self, now: &Exogenous, consumption: f64) -> f64 {
        let people = self.people * now.people;
        let each = 1000.0 * consumption / people;
        YEARS * now.discount * people * (each.powf(1.0 - ELASTICITY) - 1.0) / (1.0 - ELASTICITY)
    }
}

/// Marginal utility of a trillion $ of consumption spread over the people of a place.
pub(super) fn marginal_utility(people: f64, consumption: f64) -> f64 {
    1000.0 * (1000.0 * consumption / people).powf(-ELASTICITY)
}

/// K ← (1 − δ)⁵ K + 5 I.
pub(super) fn invest(capital: f64, investment: f64) -> f64 {
    (1.0 - DEPRECIATION).powf(YEARS) * capital + YEARS * investment
}

/// The control rate at which the marginal cost of abatement is a carbon price in $ per t CO₂: μ = (p / p_back)^(1/1.6), at most 1.
pub fn rate_at_price(price: f64, backstop: f64) -> f64 {
    (price / backstop).powf(1.0 / (ABATEMENT_EXPONENT - 1.0)).min(1.0)
}
