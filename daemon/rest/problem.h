/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Problem documents (RFC 9457): what the body of every HTTP error is. Pure.
 */
#pragma once

#include "bk-types.h"

typedef struct {
  char *type;  /* always "about:blank": code says more than a URI would */
  char *title; /* the HTTP status in words */
  uint64_t status;
  char *code;    /* wire name of a BkErrorCode */
  char *detail;  /* one line; says what to do where something can be done */
  char *pointer; /* JSON pointer into the request's body, or "?NAME" for a query parameter; left out else */
} BkProblemDocument;
BK_TYPE (BkProblemDocument, bk_problem_document)

/* @pointer may be NULL. (transfer full) */
BkProblemDocument *bk_problem_document_new (unsigned status, BkErrorCode code, const char *detail, const char *pointer);

/* The document for @error. Its status is the one of the error table, but for INVALID: 422 when @in_body, as the
 * JSON was well-formed and its content is at fault, else 400. A message "POINTER: text" is split. (transfer full) */
BkProblemDocument *bk_problem_document_from_error (const GError *error, bool in_body);
