/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "problem.h"

#include <libsoup/soup.h>
#include <string.h>

#define FIELD(Kind, member, flags) { #member, Kind, offsetof (BkProblemDocument, member), flags, NULL, NULL }

static const BkField bk_problem_document_fields[] = {
  FIELD (BK_FIELD_STRING, type, BK_FIELD_REQUIRED),
  FIELD (BK_FIELD_STRING, title, BK_FIELD_REQUIRED),
  FIELD (BK_FIELD_UINT64, status, BK_FIELD_REQUIRED),
  FIELD (BK_FIELD_STRING, code, BK_FIELD_REQUIRED),
  FIELD (BK_FIELD_STRING, detail, BK_FIELD_REQUIRED),
  FIELD (BK_FIELD_STRING, pointer, BK_FIELD_OMIT_IF_EMPTY),
  { NULL, BK_FIELD_STRING, 0, 0, NULL, NULL },
};
const BkStruct bk_problem_document_struct = { "problem", sizeof (BkProblemDocument), bk_problem_document_fields };

BkProblemDocument *
bk_problem_document_new (unsigned status, BkErrorCode code, const char *detail, const char *pointer)
{
  BkProblemDocument *problem = g_new0 (BkProblemDocument, 1);
  problem->type = g_strdup ("about:blank");
  problem->title = g_strdup (soup_status_get_phrase (status));
  problem->status = status;
  problem->code = g_strdup (bk_error_entry (code)->name);
  problem->detail = g_utf8_make_valid (detail, -1); /* it may quote what a client sent */
  problem->pointer = g_strdup (pointer);
  return problem;
}

/* Length of the JSON pointer (or "?name") that @message starts with, 0 when it starts otherwise. A text such as
 * "/some/file: No such file" looks the same; only INVALID errors are looked at, and those are about fields. */
static size_t
pointer_length (const char *message)
{
  if (message[0] != '/' && message[0] != '?')
    return 0;
  size_t length = strcspn (message, ": ");
  return g_str_has_prefix (message + length, ": ") ? length : 0;
}

BkProblemDocument *
bk_problem_document_from_error (const GError *error, bool in_body)
{
  const BkErrorEntry *entry = bk_error_entry_of (error);
  if (entry->code != BK_ERROR_INVALID)
    return bk_problem_document_new (entry->http ? entry->http : SOUP_STATUS_INTERNAL_SERVER_ERROR, entry->code,
                                    error->message, NULL);
  size_t length = pointer_length (error->message);
  g_autofree char *pointer = length > 0 ? g_strndup (error->message, length) : NULL;
  return bk_problem_document_new (in_body ? SOUP_STATUS_UNPROCESSABLE_ENTITY : entry->http, entry->code,
                                  error->message + (pointer ? length + 2 : 0), pointer);
}
