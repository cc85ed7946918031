//! Tests of the patterns. Secrets are assembled from parts, so that secret scanners
//! ignore them.

use super::*;

/// The kind and the text of each match.
fn matches(text: &str) -> Vec<(PatternKind, &str)> {
    find(text).into_iter().map(|entry| (entry.kind, &text[entry.span])).collect()
}

#[test]
fn personal_data_is_found() {
    for (text, kind, find) in [
        (
            "Write to jane.doe+x@mail.uni-mainz.de.",
            PatternKind::Email,
            "jane.doe+x@mail.uni-mainz.de",
        ),
        ("<j@gmail.com>", PatternKind::Email, "j@gmail.com"),
        ("Call +49 170 1234567 today", PatternKind::Phone, "+49 170 1234567"),
        ("Call +491701234567.", PatternKind::Phone, "+491701234567"),
        ("+44 (0)20 7946 0958", PatternKind::Phone, "+44 (0)20 7946 0958"),
        ("+1 212-736-5000", PatternKind::Phone, "+1 212-736-5000"),
        ("(212) 736-5000, ask for Al", PatternKind::Phone, "(212) 736-5000"),
        ("Tel.: 212-736-5000.", PatternKind::Phone, "212-736-5000"),
        // 4539 1488 0343 6467: digits doubled from the right by hand sum to 80.
        ("card 4539 1488 0343 6467!", PatternKind::Card, "4539 1488 0343 6467"),
        ("card 4539148803436467", PatternKind::Card, "4539148803436467"),
        ("3782-822463-10013?", PatternKind::Card, "3782-822463-10013"),
        (
            "IBAN FR14 2004 1010 0505 0001 3M02 606 IS",
            PatternKind::Iban,
            "FR14 2004 1010 0505 0001 3M02 606",
        ),
        ("to NL91ABNA0417164300.", PatternKind::Iban, "NL91ABNA0417164300"),
        ("SSN 536-22-8726", PatternKind::SocialSecurity, "536-22-8726"),
    ] {
        assert_eq!(matches(text), [(kind, find)], "{text}");
        assert!(!kind.is_secret());
    }
}

#[test]
fn secrets_are_found() {
    let amazon = ["AKIA", "Z7QK2MWPLT4RXV3N"].concat();
    let github = ["ghp_", "a8Kd03jFq9Lm2Zx7Wv5Rt1Yb6Nc4Pe0Hg8Us"].concat();
    let openai = ["sk-", "proj-Qm7Zt4Lk9Xv2Ns8Wb3Rc6Hd1"].concat();
    let stripe = ["sk_live_", "4eC39HqLyjWDarjtT1zdp7dc"].concat();
    let web = ["eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0In0", ".s5f2Kd03jFq9Lm2Zx7"].concat();
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----");
    let open = format!("-----BEGIN PRIVATE KEY-----\n{body}");
    for (secret, kind) in [
        (&amazon, PatternKind::AccessToken),
        (&github, PatternKind::AccessToken),
        (&openai, PatternKind::AccessToken),
        (&stripe, PatternKind::AccessToken),
        (&web, PatternKind::WebToken),
        (&pem, PatternKind::PrivateKey),
    ] {
        assert_eq!(matches(&format!("use \"{secret}\" here")), [(kind, secret.as_str())]);
        assert!(kind.is_secret());
    }
    assert_eq!(matches(&open), [(PatternKind::PrivateKey, open.as_str())]);
    let value = ["q8Zr", "T5vWn2Lk9X"].concat();
    for text in [
        format!("password = \"{value}\""),
        format!("API_KEY={value}"),
        format!("{{\"api_key\": \"{value}\"}}"),
        format!("secret: {value}."),
        format!("postgres://anna:{value}@db.internal/app"),
    ] {
        assert_eq!(matches(&text), [(PatternKind::Credential, value.as_str())], "{text}");
    }
}

#[test]
fn look_alikes_are_not_found() {
    for text in [
        // Identifiers and hashes.
        "550e8400-e29b-41d4-a716-446655440000",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "token: 550e8400-e29b-41d4-a716-446655440000",
        "secret = 9f86d081884c7d659a2feaa0c55ad015",
        "commit 4cb46ab5d2e1f0a39b8c7d6e5f4a3b2c1d0e9f8a",
        "sha512-Q2bFTOhEALkN8hOms2FKTDLy7eugP2zFZ1T8LCvX42Fp3WoNr3bjZSAHeOsHrbV1Fu9/A0EzCinRE7Af1ofPrw==",
        // Versions, addresses, dates, decimals, amounts.
        "version 10.2.345.6789, then 1.2.3-45-6789",
        "192.168.212.736 and 2024-11-25 12:30:45",
        "3.14159265358979 and $4539148803436467",
        "ISBN 978-3-16-148410-0",
        "doi:10.1000/536-22-8726",
        // Order numbers and similar.
        "Order 212-736-5000 has shipped",
        "order number: 4539 1488 0343 6467",
        "tracking 1Z999AA10123456784",
        "112-4567890-1234567",
        "Invoice no. 536-22-8726",
        "#536-22-8726",
        // Wrong check digits.
        "4539 1488 0343 6468",
        "NL92ABNA0417164300",
        "4539-1488 0343-6467",
        // Reserved and documented examples.
        "jane@example.com, jane@mail.example.org, you@company.com",
        "git@github.com, info@museum.org, logo@2x.png, a@b.test",
        "(555) 736-5000, 212-555-0142, 123-456-7890, 1-800-273-8255, +1 800 273 8255",
        "4111 1111 1111 1111, 078-05-1120, GB82 WEST 1234 5698 7654 32",
        "AKIAIOSFODNN7EXAMPLE",
        "password: your_password_here1, api_key = \"xxxxxxxxxxxxxxxx1\", token=<TOKEN>",
        "password = correcthorsebatterystaple",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "sk-loading-indicator-container and https://host:8080/@user",
        "the token: a word; the secret: patience and 3 friends",
        "x = 3 +12345678; +1 +2",
    ] {
        assert_eq!(matches(text), [], "{text}");
    }
}

#[test]
fn matches_are_in_order_and_do_not_overlap() {
    let text = "é a@gmail.com, 536-22-8726; b@gmail.com";
    let kinds: Vec<PatternKind> = find(text).iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [PatternKind::Email, PatternKind::SocialSecurity, PatternKind::Email]);
    let url = "mongodb://anna:q8ZrT5vWn2Lk9X@db.gmail.com";
    assert_eq!(matches(url).len(), 1);
}
