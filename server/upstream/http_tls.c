#include <openssl/ssl.h>
#include <string.h>

#include "server/upstream/http_internal.h"

/* The store may be shared only with the OpenSSL that libcurl itself runs on. A backend in parentheses is not the chosen
 * one. */
static bool http_tls_is_ours(const curl_version_info_data *info)
{
	return info->ssl_version != NULL && strncmp(info->ssl_version, "OpenSSL/3", 9) == 0 &&
	       OPENSSL_VERSION_MAJOR == 3;
}

void *http_tls_new(void)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
	X509_STORE *store;
	bool loaded;

	if (!http_tls_is_ours(info))
		return NULL;
	store = X509_STORE_new();
	if (store == NULL)
		return NULL;
	/* What libcurl would read, and what SSL_CERT_FILE and SSL_CERT_DIR name. */
	loaded = info->cainfo != NULL && X509_STORE_load_file(store, info->cainfo) == 1;
	loaded = X509_STORE_set_default_paths(store) == 1 || loaded;
	if (!loaded) {
		X509_STORE_free(store);
		return NULL;
	}
	return store;
}

void http_tls_free(void *tls) { X509_STORE_free(tls); }

static CURLcode http_tls_on_context(CURL *easy, void *context, void *tls)
{
	(void)easy;
	SSL_CTX_set1_cert_store(context, tls);
	return CURLE_OK;
}

void http_tls_apply(void *tls, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, tls);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, http_tls_on_context);
}
