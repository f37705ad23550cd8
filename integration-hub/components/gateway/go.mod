module acme/gateway

go 1.19
