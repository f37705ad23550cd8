//! JUnit reports: counts asserted by the tenant.
