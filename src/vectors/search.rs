//! The reading side: from a question to objects, best first.
//!
//! A document's score is its cosine plus a small share of its BM25 ([`BM25_SHARE`]). Reciprocal-rank
//! fusion is not used: it lets a chance word outweigh the meaning and measurably loses paraphrased
//! questions. A name given as it stands (`ERP_Id__c`, quoted text) is looked up directly and comes first.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::query::{Exact, Question};
use super::schema::{self, During, VectorStoreError};
use super::store::{document_by_row, vector_bytes};
use crate::ai::{EmbedError, Embedder, is_empty_vector};
use crate::model::{ObjectName, OrgName, Section};

/// What the best full-text match adds to a cosine.
const BM25_SHARE: f64 = 0.15;
/// What a name found as it stands adds: more than any cosine and BM25 together.
const EXACT_NAME: f64 = 3.0;
/// What a quoted text, or a name found only within a text, adds.
const EXACT_TEXT: f64 = 1.5;
/// What an object that people work on has over the platform's own bookkeeping.
const BUSINESS: f64 = 0.12;
/// What the second and third best documents of an object add, as a share of their score.
const FOLLOWERS: [f64; 2] = [0.04, 0.02];
/// Candidates by vector, by words, and by vector among companions when they are asked for.
const NEAREST: usize = 256;
const BEST_WORDS: usize = 128;
const NEAREST_COMPANIONS: usize = 48;
/// Documents shown with an object.
const DOCUMENTS_SHOWN: usize = 3;
/// Longest snippet, in characters.
const SNIPPET: usize = 240;

/// What to search in, and how much to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchFilter {
    /// Only this org.
    pub org: OrgName,
    /// Only this object.
    pub object: Option<ObjectName>,
    /// Only documents of this section.
    pub section: Option<Section>,
    /// Most objects to answer.
    pub limit: usize,
}

impl SearchFilter {
    /// The ten best objects of `org`.
    pub fn of(org: OrgName) -> Self {
        Self { org, object: None, section: None, limit: 10 }
    }
}

/// An object that answers the question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectHit {
    /// API name.
    pub object: ObjectName,
    /// Label, as the org gave it.
    pub label: String,
    /// Higher is better; comparable within one answer only.
    pub score: f64,
    /// Its best documents, best first.
    pub documents: Vec<DocumentHit>,
}

/// A document that answers the question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DocumentHit {
    /// Id.
    pub id: String,
    /// What it tells of.
    pub section: Section,
    /// The one field it tells of, if it does.
    pub field: Option<String>,
    /// Higher is better; comparable within one answer only.
    pub score: f64,
    /// The piece of its text nearest to the question, in one line.
    pub snippet: String,
}

/// Why a search gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The store refused.
    #[error("search the library")]
    Store(#[from] VectorStoreError),
    /// The question could not be embedded.
    #[error("embed the question")]
    Embed(#[from] EmbedError),
    /// The library was embedded by another model than the question would be.
    #[error("the library was embedded by `{library}`, the question by `{question}`")]
    OtherModel {
        /// Model in the library's file.
        library: String,
        /// Model that was given.
        question: String,
    },
}

/// A reader of the library; any number may read while one writes.
#[derive(Debug)]
pub struct Search {
    connection: Connection,
    dimensions: usize,
    model: String,
}

#[derive(Debug, Default, Clone)]
struct Candidate {
    object: String,
    business: bool,
    cosine: Option<f64>,
    bm25: f64,
    exact: f64,
}

impl Search {
    /// Opens the library's file for reading only.
    ///
    /// # Errors
    /// [`VectorStoreError::kind`] tells a missing file, one of another version, and the rest.
    pub fn open_read_only(path: &Path) -> Result<Self, VectorStoreError> {
        let (connection, dimensions, model) = schema::open_read_only(path)?;
        Ok(Self { connection, dimensions, model })
    }

    /// Objects that answer `question`, best first.
    ///
    /// # Errors
    /// When the store refuses, the model fails, or it is not the model of the library.
    pub fn search(
        &self,
        embedder: &dyn Embedder,
        question: &str,
        filter: &SearchFilter,
    ) -> Result<Vec<ObjectHit>, SearchError> {
        if embedder.model_name() != self.model || embedder.dimensions() != self.dimensions {
            let question = embedder.model_name().to_owned();
            return Err(SearchError::OtherModel { library: self.model.clone(), question });
        }
        let question = Question::new(question);
        let vector = embedder.embed(&[&question.embedded])?.pop().unwrap_or_default();
        let bytes = (!is_empty_vector(&vector)).then(|| vector_bytes(&vector));

        let mut candidates: HashMap<i64, Candidate> = HashMap::new();
        self.find_exact(&question, filter, &mut candidates).during("look up names")?;
        self.find_words(&question, filter, &mut candidates).during("search words")?;
        if let Some(bytes) = &bytes {
            self.find_nearest(bytes, &question, filter, &mut candidates).during("search vectors")?;
            self.fill_cosines(bytes, &mut candidates).during("compare vectors")?;
        }
        self.rank(&question, filter, candidates)
    }

    fn find_exact(
        &self,
        question: &Question,
        filter: &SearchFilter,
        candidates: &mut HashMap<i64, Candidate>,
    ) -> rusqlite::Result<()> {
        for exact in &question.exact {
            let mut found = 0;
            match exact {
                Exact::FieldOf { object, field } => {
                    let rows = "object = ?2 COLLATE NOCASE AND field = ?3 COLLATE NOCASE";
                    found += self.note_exact(rows, filter, (object, field), candidates)?;
                }
                Exact::Name(name) => {
                    let object = "object = ?2 COLLATE NOCASE AND section = ?3";
                    found += self.note_exact(object, filter, (name, "overview"), candidates)?;
                    let field = "field = ?2 COLLATE NOCASE AND section = ?3";
                    found += self.note_exact(field, filter, (name, "field"), candidates)?;
                }
                Exact::Phrase(_) => {}
            }
            if found == 0 {
                let rows = self.by_words(&exact.fts_phrase(), true, filter)?;
                for (row, _, object, business) in rows {
                    let candidate = candidates.entry(row).or_default();
                    (candidate.object, candidate.business) = (object, business);
                    candidate.exact = candidate.exact.max(EXACT_TEXT);
                }
            }
        }
        Ok(())
    }

    fn note_exact(
        &self,
        condition: &str,
        filter: &SearchFilter,
        (first, second): (&str, &str),
        candidates: &mut HashMap<i64, Candidate>,
    ) -> rusqlite::Result<usize> {
        let sql = format!(
            "SELECT row, object, business FROM documents
             WHERE org = ?1 AND {condition}
               AND (?4 IS NULL OR object = ?4) AND (?5 IS NULL OR section = ?5)
             ORDER BY id LIMIT 200"
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let (object, section) = narrow(filter);
        let rows = select.query_map(params![filter.org.as_str(), first, second, object, section], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))
        })?;
        let mut found = 0;
        for row in rows {
            let (row, object, business) = row?;
            let candidate = candidates.entry(row).or_default();
            (candidate.object, candidate.business) = (object, business);
            candidate.exact = EXACT_NAME;
            found += 1;
        }
        Ok(found)
    }

    fn find_words(
        &self,
        question: &Question,
        filter: &SearchFilter,
        candidates: &mut HashMap<i64, Candidate>,
    ) -> rusqlite::Result<()> {
        let Some(query) = question.fts_any() else { return Ok(()) };
        for (row, bm25, object, business) in
            self.by_words(&query, with_companions(question, filter), filter)?
        {
            let candidate = candidates.entry(row).or_default();
            (candidate.object, candidate.business, candidate.bm25) = (object, business, bm25);
        }
        Ok(())
    }

    /// Rows whose words match, best first, with BM25 as a positive figure.
    fn by_words(
        &self,
        query: &str,
        with_companions: bool,
        filter: &SearchFilter,
    ) -> rusqlite::Result<Vec<(i64, f64, String, bool)>> {
        let sql = "SELECT d.row, -bm25(words, 1.0, 1.0), d.object, d.business
                   FROM words JOIN documents d ON d.row = words.rowid
                   WHERE words MATCH ?1 AND d.org = ?2
                     AND (?3 IS NULL OR d.object = ?3) AND (?4 IS NULL OR d.section = ?4) AND (?6 OR NOT d.companion)
                   ORDER BY bm25(words, 1.0, 1.0) LIMIT ?5";
        let (object, section) = narrow(filter);
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(
            params![query, filter.org.as_str(), object, section, BEST_WORDS as i64, with_companions],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        rows.collect()
    }

    fn find_nearest(
        &self,
        vector: &[u8],
        question: &Question,
        filter: &SearchFilter,
        candidates: &mut HashMap<i64, Candidate>,
    ) -> rusqlite::Result<()> {
        if filter.object.is_some() {
            return self.find_in_object(vector, filter, candidates);
        }
        for (companion, nearest) in [(false, NEAREST), (true, NEAREST_COMPANIONS)] {
            if companion && !with_companions(question, filter) {
                continue;
            }
            let by_section = if filter.section.is_some() { "AND section = ?5" } else { "" };
            let sql = format!(
                "SELECT n.row, n.distance, d.object, d.business FROM (
                     SELECT row, distance FROM vectors
                     WHERE embedding MATCH ?1 AND k = ?2 AND org = ?3 AND companion = ?4 {by_section}
                 ) n JOIN documents d ON d.row = n.row"
            );
            let mut select = self.connection.prepare_cached(&sql)?;
            let (_, section) = narrow(filter);
            let org = filter.org.as_str();
            let mut rows = match section {
                Some(section) => select.query(params![vector, nearest as i64, org, companion, section])?,
                None => select.query(params![vector, nearest as i64, org, companion])?,
            };
            while let Some(row) = rows.next()? {
                let candidate = candidates.entry(row.get(0)?).or_default();
                candidate.cosine = Some(1.0 - row.get::<_, f64>(1)?);
                (candidate.object, candidate.business) = (row.get(2)?, row.get(3)?);
            }
        }
        Ok(())
    }

    /// One object has few documents: all of them are candidates.
    fn find_in_object(
        &self,
        vector: &[u8],
        filter: &SearchFilter,
        candidates: &mut HashMap<i64, Candidate>,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT row, business, object FROM documents
                   WHERE org = ?1 AND object = ?2 COLLATE NOCASE AND object = ?2 AND (?3 IS NULL OR section = ?3)";
        let (object, section) = narrow(filter);
        let mut select = self.connection.prepare_cached(sql)?;
        let mut rows = select.query(params![filter.org.as_str(), object, section])?;
        while let Some(row) = rows.next()? {
            let candidate = candidates.entry(row.get(0)?).or_default();
            (candidate.business, candidate.object) = (row.get(1)?, row.get(2)?);
        }
        drop(rows);
        self.fill_cosines(vector, candidates)
    }

    /// Gives candidates found by name or words the cosine that they would have been found with.
    fn fill_cosines(&self, vector: &[u8], candidates: &mut HashMap<i64, Candidate>) -> rusqlite::Result<()> {
        let sql = "SELECT vec_distance_cosine(embedding, ?1) FROM vectors WHERE row = ?2";
        let mut select = self.connection.prepare_cached(sql)?;
        for (row, candidate) in candidates.iter_mut().filter(|(_, candidate)| candidate.cosine.is_none()) {
            let mut found = select.query(params![vector, row])?;
            if let Some(found) = found.next()? {
                candidate.cosine = Some(1.0 - found.get::<_, f64>(0)?);
            }
        }
        Ok(())
    }

    fn rank(
        &self,
        question: &Question,
        filter: &SearchFilter,
        candidates: HashMap<i64, Candidate>,
    ) -> Result<Vec<ObjectHit>, SearchError> {
        let best_bm25 = candidates.values().map(|candidate| candidate.bm25).fold(0.0, f64::max);
        let mut objects: BTreeMap<String, Vec<(f64, i64)>> = BTreeMap::new();
        for (row, candidate) in candidates {
            let score = score(&candidate, best_bm25);
            objects.entry(candidate.object).or_default().push((score, row));
        }
        let rank_object = |(object, mut rows): (String, Vec<(f64, i64)>)| {
            rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            (object_score(&rows), object, rows)
        };
        let mut ranked: Vec<_> = objects.into_iter().map(rank_object).collect();
        // Equal scores fall back on the name, so that an answer never depends on a map's order.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        ranked.truncate(filter.limit);

        let mut hits = Vec::with_capacity(ranked.len());
        for (score, _, rows) in ranked {
            let mut hit: Option<ObjectHit> = None;
            for (document_score, row) in rows.into_iter().take(DOCUMENTS_SHOWN) {
                let Some(document) = document_by_row(&self.connection, row)? else { continue };
                let text_of = |key: &str| document.metadata.get(key).and_then(|value| value.as_str());
                let hit = hit.get_or_insert_with(|| ObjectHit {
                    object: document.object.clone(),
                    label: text_of("label").unwrap_or_default().to_owned(),
                    score,
                    documents: Vec::new(),
                });
                hit.documents.push(DocumentHit {
                    section: document.section,
                    field: text_of("field").map(str::to_owned),
                    score: document_score,
                    snippet: snippet(&document.text, &question.words),
                    id: document.id,
                });
            }
            hits.extend(hit);
        }
        Ok(hits)
    }
}

fn narrow(filter: &SearchFilter) -> (Option<&str>, Option<&str>) {
    (filter.object.as_ref().map(ObjectName::as_str), filter.section.map(Section::as_str))
}

fn score(candidate: &Candidate, best_bm25: f64) -> f64 {
    let words = if best_bm25 > 0.0 { BM25_SHARE * candidate.bm25 / best_bm25 } else { 0.0 };
    let business = if candidate.business { BUSINESS } else { 0.0 };
    candidate.exact + candidate.cosine.unwrap_or(0.0) + words + business
}

/// There are several companions to every object, with their parent's name in theirs: unless they are asked
/// for, or named as they stand, they would fill the answer behind each parent.
fn with_companions(question: &Question, filter: &SearchFilter) -> bool {
    question.wants_companions || filter.object.is_some()
}

/// The best document counts whole; the next two a little, so that an object that is about the question
/// all over comes before one with a single likely field. `rows` are sorted, best first.
fn object_score(rows: &[(f64, i64)]) -> f64 {
    let best = rows.first().map_or(0.0, |row| row.0);
    let followers = rows.iter().skip(1).zip(FOLLOWERS);
    best + followers.map(|((score, _), share)| score.max(0.0) * share).sum::<f64>()
}

/// The line of `text` with most of the words, cut around the first of them.
fn snippet(text: &str, words: &[String]) -> String {
    let hits = |line: &str| {
        let line = line.to_lowercase();
        words.iter().filter(|word| line.contains(word.as_str())).count()
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("| ---"));
    // `rev` and `max_by_key`: of several best lines the first.
    let lines: Vec<&str> = lines.collect();
    let line = lines.iter().rev().max_by_key(|line| hits(line)).copied().unwrap_or_default();
    let letters: Vec<char> = line.trim().trim_start_matches("- ").chars().collect();
    if letters.len() <= SNIPPET {
        return letters.into_iter().collect();
    }
    let lower: String = letters.iter().flat_map(|c| c.to_lowercase()).collect();
    let first = words.iter().filter_map(|word| lower.find(word.as_str())).min().unwrap_or(0);
    let start = lower[..first].chars().count().saturating_sub(SNIPPET / 4).min(letters.len() - SNIPPET);
    let cut: String = letters[start..start + SNIPPET].iter().collect();
    format!("{}{}...", if start > 0 { "..." } else { "" }, cut.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_shows_the_line_that_was_asked_for() {
        let text = "First line.\n- Loss reason: why a deal was lost\n- Another";
        assert_eq!(snippet(text, &["lost".into()]), "Loss reason: why a deal was lost");
        assert_eq!(snippet("", &["x".into()]), "");
        let long = format!("{} needle {}", "a ".repeat(300), "b ".repeat(300));
        let cut = snippet(&long, &["needle".into()]);
        assert!(cut.contains("needle") && cut.chars().count() <= SNIPPET + 6);
    }

    #[test]
    fn a_name_as_it_stands_outweighs_all_likeness() {
        let likely = Candidate { cosine: Some(1.0), bm25: 7.0, business: true, ..Candidate::default() };
        let named = Candidate { exact: EXACT_TEXT, ..Candidate::default() };
        assert!(score(&named, 7.0) >= score(&likely, 7.0));
    }
}
