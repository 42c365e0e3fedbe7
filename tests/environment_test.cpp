#include "orchestrator/environment.h"

#include <doctest/doctest.h>

using namespace isosweep;
using Words = std::vector<std::string>;

TEST_CASE("an environment that is kept is sorted, and tells no secret") {
    CHECK(masked_environment({"PATH=/usr/bin:/opt/auth:/opt/key", "HOME=/root",
                              "EMPTY=", "GITHUB_TOKEN=abc", "aws_secret_access_Key=abc",
                              "PGPASSWORD=abc", "ISOSWEEP_WORKER_TOKEN=00ff",
                              "SSH_AUTH_SOCK=/tmp/x", "http_proxy=http://me:word@proxy:80/",
                              "OMP_NUM_THREADS=2", "MONKEY=1", "odd"}) ==
          Words{"EMPTY=", "GITHUB_TOKEN=***", "HOME=/root", "MONKEY=***", "OMP_NUM_THREADS=2",
                "PATH=/usr/bin:/opt/auth:/opt/key", "PGPASSWORD=***", "SSH_AUTH_SOCK=***",
                "aws_secret_access_Key=***", "http_proxy=***", "odd"});
    CHECK(masked_environment({}).empty());
}

TEST_CASE("a secret is told by its name or by what its value holds") {
    for (const char* const secret :
         {"A_PASSWD=x", "MYSQL_PWD=x", "DB_PASSPHRASE=x", "x_cookie=x", "SESSION_ID=x", "PRIVATE=x",
          "ApiKey=x", "CREDENTIALS=x", "OAUTH=x", "INDEX=https://user:pa/ss@host/simple",
          "INDEX=--extra https://ghp_x@host/", "URL=postgres://u:p@h/db", "OPTS=-Dmy.password=x -v",
          R"(BLOB={"api_key": "x"})", "PEM=-----BEGIN RSA X-----", "LIST=a=1,token_value=2"})
        CHECK_MESSAGE(looks_secret(secret), secret);
    for (const char* const open :
         {"PWD=/root", "OLDPWD=/root", "HOME=/home/key", "URL=https://host/path", "MAIL=me@host",
          "LS_COLORS=rs=0:di=01;34", "LANG=C.UTF-8", "TWO=http://a b@c",
          "LD_LIBRARY_PATH=/opt/token:/usr/lib", "NOTHING", ""})
        CHECK_MESSAGE(!looks_secret(open), open);
}

TEST_CASE("what matters to a measurement goes into a script, but no secret") {
    CHECK(measurement_environment({"OMP_NUM_THREADS=2", "HOME=/root", "CUDA_VISIBLE_DEVICES=0",
                                   "LD_PRELOAD=/a.so", "LD_PRELOAD_X=1", "NCCL_SECRET=x",
                                   "TORCH_URL=http://a:b@c", "CUBLAS_WORKSPACE_CONFIG=:4096:8",
                                   "LD_LIBRARY_PATH=/lib", "MY_CUDA_X=1", "OMP_f%%=() { }",
                                   "ISOSWEEP_WORKER_TOKEN=00ff", "ISOSWEEP_KERNELS=libtorch"}) ==
          Words{"CUBLAS_WORKSPACE_CONFIG=:4096:8", "CUDA_VISIBLE_DEVICES=0",
                "ISOSWEEP_KERNELS=libtorch", "LD_LIBRARY_PATH=/lib", "LD_PRELOAD=/a.so",
                "OMP_NUM_THREADS=2"});
}

TEST_CASE("a variable is one line, whatever it holds") {
    CHECK(environment_text({"A=1", "F=() {\n\techo\x1b }", "U=\xc3\xa4"}) ==
          "A=1\nF=() {\\n\\x09echo\\x1b }\nU=\xc3\xa4\n");
}
